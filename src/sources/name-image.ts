import { findProgram, run } from "#linux/child.ts";
import { mountStoreAlias } from "./store-alias.ts";
import { podmanArguments, prepareSurroundings } from "./surroundings.ts";

/**
 * Gives an image of the store one more name, which it takes from any other image there. False where podman, which alone
 * can do it, is not installed. Needs a private mount namespace.
 */
export async function nameImage(
  storeRoot: string,
  { imageId, name, signal }: { readonly imageId: string; readonly name: string; readonly signal: AbortSignal },
): Promise<boolean> {
  if (findProgram("podman") === undefined) return false;
  using alias = mountStoreAlias(storeRoot);
  await run("podman", [...podmanArguments, "tag", imageId, name], { ...prepareSurroundings({ alias }), signal });
  return true;
}
