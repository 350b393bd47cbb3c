import { displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { ObjectId } from "#formats/composefs-objects.ts";
import { type FileContent, makeLayerStream } from "#formats/splitstream-layer.ts";
import type { Repository } from "#stores/composefs/repository.ts";
import { stageObject } from "#stores/composefs/staging.ts";
import type { LayerRecord } from "#stores/containers-storage/layers.ts";
import { tarSplitRecords } from "#stores/containers-storage/tar-split-file.ts";

/** A layer whose files are objects, and whose stream is to be made. Sent to a worker, so plain values only. */
export interface LayerStreamJob {
  readonly layer: LayerRecord;
  readonly repository: Repository;
  readonly staging: string;
  /** Of each file with content, in the tar's order; `undefined` for one that a later file of that name replaced. */
  readonly contents: readonly (FileContent | undefined)[];
}

/**
 * Makes the layer's stream an object in the staging folder.
 * @throws "unsupported" for a layer whose tar can't be made of what is there, "not-found" without tar-split
 */
export async function stageLayerStream({ layer, repository, staging, contents }: LayerStreamJob): Promise<ObjectId> {
  let next = 0;
  const bytes = await makeLayerStream(repository.meta.algorithm, tarSplitRecords(layer), (entry) => {
    const content = contents[next++];
    if (content !== undefined) return content;
    throw new OneholdError(
      "unsupported",
      `the layer's tar has ${displayBytes(entry.name)} twice, and only the last is unpacked`,
      { subject: layer.id, hint: "Build the image anew." },
    );
  });
  return stageObject(repository, { path: staging }, bytes);
}
