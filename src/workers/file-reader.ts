/** A worker thread that reads the files of layers and gives them to the stores. */
import { doWork, type Work, type WorkDone } from "#host/projection/work.ts";
import { serve } from "#linux/worker-pool.ts";

serve<Work, WorkDone>(doWork);
