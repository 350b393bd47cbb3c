import type { ImageConfig } from "#formats/oci.ts";
import type { ProbeResult } from "#sharing/probe.ts";
import type { ImageRecord } from "#stores/containers-storage/images.ts";
import type { ImageStore } from "#stores/containers-storage/store.ts";

/** An image of the image store that the backend's stores shall have too. */
export interface ProjectionRequest {
  readonly image: ImageRecord;
  readonly store: ImageStore;
  readonly documents: { readonly manifest: Buffer; readonly config: Buffer };
  readonly config: ImageConfig;
  readonly reference: string;
  /** Its name in progress events. */
  readonly name: string;
  readonly pinned: boolean;
  /** How files get into each store of the backend. */
  readonly probes: { readonly ostree?: ProbeResult; readonly composefs?: ProbeResult };
  readonly allowCopy: boolean;
  readonly allowVerity: boolean;
}
