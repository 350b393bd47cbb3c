import path from "node:path";
import { nameOfImage } from "#host/composefs-image.ts";
import { mountImage, type MountResult } from "#host/composefs-mount.ts";
import type { VerbContext } from "../context.ts";
import type { InternalsMountOptions } from "../options.ts";

/** Acts where it is called: in no mount namespace of its own, unlike verbs that start podman. */
export async function run(options: InternalsMountOptions, context: VerbContext): Promise<number> {
  const { repo: repository = path.join(context.sysroot, "composefs"), directory, digest, bootable } = options;
  const image = await nameOfImage({ repository, image: options.image }, bootable);
  const demanded = digest === undefined ? {} : { digest };
  context.print(mountImage({ repository, image, directory, ...demanded }), render);
  return 0;
}

function render({ directory, digest, verity, backing, probed }: MountResult): string {
  return [
    `Mounted at ${directory}: ${digest ?? "an image of no demanded digest"}`,
    `  fs-verity  ${verity ? "demanded of every object" : "not demanded: the repository is not secure"}`,
    `  objects    ${probed === undefined ? "the image has none" : `found: ${probed} was read`}`,
    ...(backing === "loop-device" ? ["  by a loop device: the kernel can't mount the file itself"] : []),
  ].join("\n");
}
