import { join } from "node:path";
import { appImage } from "#fixtures/deployed-sysroot.ts";
import { addImage, addLayer, type Image, makeOciLayout, type OciLayout } from "#fixtures/oci-layout.ts";
import { directory, type Entry, file, symlink } from "#fixtures/tar-writer.ts";
import { parseReference, storedName } from "#image/reference.ts";

/** Images of a few files, which can be pulled under any tag. */
export interface SmallImages {
  readonly layout: OciLayout;
  /** What `image pull` takes for a tag. */
  readonly reference: (tag: string) => string;
  /** What podman calls it then. */
  readonly name: (tag: string) => string;
  /** The tag stands for that image from now on. `kind`: `host <n>` demands the tag `app`; `again`: the same config in another manifest. */
  readonly tag: (tag: string, kind: "host" | "app", version: number, again?: boolean) => Promise<Image>;
}

/** Bytes of what each has alone; odd ones share half of it with the next lower. */
export const ownSize = 300_000;

export function makeSmallImages(folder: string): SmallImages {
  const layout = makeOciLayout(join(folder, "images"));
  const reference = (tag: string) => `oci:${layout.folder}:${tag}`;
  const name = (tag: string) => storedName(parseReference(reference(tag)));
  const layer = (...entries: Entry[]) => addLayer(layout, { entries });
  const content = (text: string) => Buffer.alloc(ownSize / 2, `${text} `);
  const base = layer(
    ...["usr", "etc", "boot", "dev", "proc", "run", "sys", "sysroot", "tmp", "var"].map((each) => directory(each)),
    symlink("ostree", "sysroot/ostree"),
    file("etc/passwd", "root:x:0:0::/root:/bin/sh\n"),
    file("usr/lib/os-release", "ID=test\nPRETTY_NAME=Test\n"),
    file("usr/lib/modules/1/vmlinuz", "kernel"),
    file("usr/share/app.image", `[Image]\nImage=${name("app")}\n`),
    symlink("usr/lib/bootc/bound-images.d/app.image", "../../../share/app.image"),
  );
  const made = new Map<string, ReturnType<typeof layer>>();
  const layerOf = (key: string) => {
    const found = made.get(key) ?? layer(directory("usr"), file(`usr/${key.replace(" ", "-")}`, content(key)));
    made.set(key, found);
    return found;
  };
  return {
    layout,
    reference,
    name,
    async tag(tag, kind, version, again = false) {
      const layers = [await layerOf(`${kind}s ${version >> 1}`), await layerOf(`${kind} ${version}`)];
      return addImage(layout, {
        tag,
        layers: kind === "host" ? [await base, ...layers] : layers,
        labels: kind === "host" ? { "containers.bootc": "1" } : { for: appImage },
        ...(again ? { annotations: { again: "1" } } : {}),
      });
    },
  };
}
