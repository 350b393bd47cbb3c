import { shortDigest } from "#base/digest.ts";
import { openSysroot } from "#host/sysroot.ts";
import { type Usage, usage } from "#host/usage.ts";
import { formatBytes, formatCount } from "#base/amounts.ts";
import type { VerbContext } from "../context.ts";
import type { UsageOptions } from "../options.ts";
import { renderTable } from "../table.ts";

export async function run(_options: UsageOptions, context: VerbContext): Promise<number> {
  context.print(usage(openSysroot(context.sysroot)), render);
  return 0;
}

function render({ fileSystem, stores, images, leftoverLayers }: Usage): string {
  const parts = [
    renderTable(
      [
        { title: "STORE", cell: (store) => store.store },
        { title: "FILES", align: "right", cell: (store) => String(store.files) },
        { title: "CONTENT", align: "right", cell: (store) => formatBytes(store.bytes) },
        { title: "SHARED", align: "right", cell: (store) => formatBytes(store.shared) },
        { title: "EXCLUSIVE", align: "right", cell: (store) => formatBytes(store.exclusive) },
        { title: "COPIED", align: "right", cell: (store) => formatBytes(store.copied) },
      ],
      stores,
    ),
    renderTable(
      [
        { title: "IMAGE", cell: (image) => image.names.join(", ") || "<none>" },
        { title: "DIGEST", cell: (image) => shortDigest(image.digest) },
        { title: "ON DISK", align: "right", cell: (image) => formatBytes(image.bytes) },
        { title: "SHARED", align: "right", cell: (image) => formatBytes(image.shared) },
        { title: "EXCLUSIVE", align: "right", cell: (image) => formatBytes(image.exclusive) },
        { title: "COPIED", align: "right", cell: (image) => formatBytes(image.copied) },
      ],
      images,
    ),
  ];
  if (leftoverLayers.length > 0) {
    const bytes = leftoverLayers.reduce((sum, layer) => sum + layer.bytes, 0);
    parts.push(
      `${formatCount(leftoverLayers.length, "layer")} of no image (${formatBytes(bytes)}), kept for the next try of a pull that was broken off.\n`,
    );
  }
  parts.push(`${fileSystem.kind}: ${formatBytes(fileSystem.available)} of ${formatBytes(fileSystem.bytes)} free\n`);
  return parts.join("\n");
}
