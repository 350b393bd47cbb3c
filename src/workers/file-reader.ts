/** A worker thread that reads the files of layers and gives them to the stores. */
import { type FileBatch, type FileRead, readFiles } from "#host/projection/read-files.ts";
import { serve } from "#linux/worker-pool.ts";

serve<FileBatch, FileRead[]>(readFiles);
