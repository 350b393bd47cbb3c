/** Labels that make an image a host's: bootc accepts either (its own, and that of ostree-ext). */
const hostLabels = ["containers.bootc", "ostree.bootable"];

/** Names the last layer that carries ostree objects, by diff ID, in images that ostree-ext encapsulated. */
export const finalDiffIdLabel = "ostree.final-diffid";

/** Whether an image is one that a host can boot, by its labels. */
export function isHostImage(labels: Readonly<Record<string, string>>): boolean {
  return hostLabels.some((label) => label in labels);
}
