import path from "node:path";
import { mountImage, type MountResult } from "#host/composefs-mount.ts";
import type { VerbContext } from "../context.ts";
import type { InternalsMountOptions } from "../options.ts";

/** Acts where it is called: in no mount namespace of its own, unlike verbs that start podman. */
export async function run(options: InternalsMountOptions, context: VerbContext): Promise<number> {
  const { repo = path.join(context.sysroot, "composefs"), ...request } = options;
  const { image, directory, digest } = request;
  const demanded = digest === undefined ? {} : { digest };
  context.print(mountImage({ repository: repo, image, directory, ...demanded }), render);
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
