/** A worker thread that gives files of layers to the ostree repository's staging folder. */
import { serve } from "#linux/worker-pool.ts";
import { type FileBatch, type StoredFile, storeFiles } from "#stores/ostree/file-objects.ts";

serve<FileBatch, StoredFile[]>(storeFiles);
