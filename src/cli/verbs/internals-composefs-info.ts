import path from "node:path";
import { formatBytes, formatCount } from "#base/amounts.ts";
import { nameOfImage } from "#host/composefs-image.ts";
import {
  type ImageInfo,
  inspectImage,
  missingObjectsOfNamedImage,
  objectsOfNamedImage,
} from "#host/composefs-inspect.ts";
import type { VerbContext } from "../context.ts";
import type { ComposefsInfoOptions } from "../options.ts";

export async function run(options: ComposefsInfoOptions, context: VerbContext): Promise<number> {
  const { repo: repository = path.join(context.sysroot, "composefs"), bootable } = options;
  const name = { repository, image: await nameOfImage({ repository, image: options.image }, bootable) };
  const { image } = options;
  const lines = (list: readonly string[]): string => list.join("\n");
  if (options.objects) {
    context.print({ image, objects: objectsOfNamedImage(name) }, ({ objects }) => lines(objects));
  } else if (options.missingObjects) {
    context.print({ image, missingObjects: missingObjectsOfNamedImage(name) }, ({ missingObjects }) =>
      lines(missingObjects),
    );
  } else {
    context.print({ ...inspectImage(name), image }, render);
  }
  return 0;
}

function render(info: ImageInfo): string {
  const { inodes, hardlinks, inline, external, objects, missingObjects } = info;
  const rows: [string, string][] = [
    ["format", `V${info.format}`],
    ["digest", `${info.algorithm}:${info.digest}`],
    ["size", `${formatBytes(info.size)} (${info.size} bytes)`],
    ["inodes", kindsOf(inodes)],
    ["hardlinks", hardlinks === 0 ? "none" : `${formatCount(hardlinks, "name")} more than files`],
    ["inline", `${formatCount(inline.files, "file")}, ${formatBytes(inline.bytes)}`],
    ["external", `${formatCount(external.files, "file")}, ${formatBytes(external.bytes)}`],
    ["objects", `${formatCount(objects.count, "object")}, ${formatBytes(objects.bytes)}`],
    ["missing", missingObjects === null ? "not known: there is no folder of objects" : String(missingObjects)],
  ];
  return rows.map(([title, text]) => `${title.padEnd(11)}${text}`).join("\n");
}

function kindsOf(inodes: ImageInfo["inodes"]): string {
  const parts: string[] = [
    inodes.directories === 1 ? "1 directory" : `${inodes.directories} directories`,
    formatCount(inodes.files, "file"),
  ];
  if (inodes.symlinks > 0) parts.push(formatCount(inodes.symlinks, "symlink"));
  if (inodes.fifos > 0) parts.push(formatCount(inodes.fifos, "FIFO"));
  if (inodes.sockets > 0) parts.push(formatCount(inodes.sockets, "socket"));
  if (inodes.charDevices > 0) parts.push(formatCount(inodes.charDevices, "character device"));
  if (inodes.blockDevices > 0) parts.push(formatCount(inodes.blockDevices, "block device"));
  return parts.join(", ");
}
