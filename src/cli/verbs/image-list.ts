import { shortDigest } from "#base/digest.ts";
import { type ListedImage, listHostImages } from "#host/list.ts";
import { openSysroot } from "#host/sysroot.ts";
import { formatBytes } from "#base/amounts.ts";
import type { VerbContext } from "../context.ts";
import type { ImageListOptions } from "../options.ts";
import { renderTable } from "../table.ts";

export async function run(options: ImageListOptions, context: VerbContext): Promise<number> {
  const { images, problems } = listHostImages(openSysroot(context.sysroot), options.type, "/");
  context.print(images.map(forMachines), () => render(images));
  for (const { message } of problems) context.warn(message);
  return 0;
}

/** With bootc's two keys, `image` and `image_type`, first. */
function forMachines(image: ListedImage) {
  const { names, type, ...rest } = image;
  return { image: names[0] ?? null, image_type: type, names, ...rest };
}

function render(images: readonly ListedImage[]): string {
  const table = renderTable(
    [
      { title: "REPOSITORY", cell: (image) => image.names.join(", ") || "<none>" },
      { title: "DIGEST", cell: (image) => shortDigest(image.digest) },
      { title: "TYPE", cell: (image) => image.type },
      { title: "SIZE", align: "right", cell: (image) => (image.size === null ? "-" : formatBytes(image.size)) },
      { title: "STORES", cell: (image) => image.stores.join(", ") },
      { title: "STAYS", cell: (image) => image.reasons.join(", ") || "-" },
    ],
    images,
  );
  const notes = images.flatMap((image) =>
    image.notes.map((note) => `${image.names[0] ?? shortDigest(image.digest)}: ${note}`),
  );
  return notes.length === 0 ? table : `${table}\n${notes.join("\n")}\n`;
}
