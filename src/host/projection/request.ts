import type { ImageConfig } from "#formats/oci.ts";
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
  readonly allowCopy: boolean;
  readonly allowVerity: boolean;
}
