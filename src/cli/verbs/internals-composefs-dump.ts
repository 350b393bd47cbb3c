import path from "node:path";
import { nameOfImage } from "#host/composefs-image.ts";
import { dumpImage } from "#host/composefs-inspect.ts";
import type { VerbContext } from "../context.ts";
import type { ComposefsDumpOptions } from "../options.ts";

export async function run(options: ComposefsDumpOptions, context: VerbContext): Promise<number> {
  const { repo: repository = path.join(context.sysroot, "composefs"), bootable, compat } = options;
  const image = await nameOfImage({ repository, image: options.image }, bootable);
  context.write(dumpImage({ repository, image }, compat));
  return 0;
}
