import type { ImageReference } from "#image/reference.ts";
import type { StartOptions } from "#linux/child.ts";
import type { PullTracker } from "./pull-progress.ts";
import type { StoreAlias } from "./store-alias.ts";

/** A pull for which everything is in place: the store is mounted, the programs' surroundings are made. */
export interface PreparedPull {
  readonly reference: ImageReference;
  readonly tlsVerify: boolean | undefined;
  /** Where blobs are kept until they are unpacked. */
  readonly temporary: string;
  readonly alias: StoreAlias;
  /** For `run` and `start`: environment and descriptors. */
  readonly surroundings: StartOptions;
  readonly signal: AbortSignal;
  readonly tracker: PullTracker;
}
