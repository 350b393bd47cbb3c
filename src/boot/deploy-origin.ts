import { formatReference, type ImageReference } from "#image/reference.ts";

/** An origin file, as ostree-ext and bootc write it, of a deployment that follows an image which nobody verifies. */
export function formatOrigin(reference: ImageReference): string {
  const image =
    reference.transport === "registry"
      ? `ostree-unverified-registry:${reference.name}`
      : `ostree-unverified-image:${formatReference(reference)}`;
  return `[origin]\ncontainer-image-reference=${image}\n`;
}
