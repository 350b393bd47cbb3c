import { rmSync } from "node:fs";
import { join } from "node:path";
import { runProgram } from "#fixtures/programs.ts";

/** Milliseconds of what there is without sharing: the image leaves the store as tars, which ostree reads. */
export async function measureTarWay(folder: string, store: string, name: string): Promise<number> {
  const script = `
mkdir "$1/tar-way" && cd "$1/tar-way" && ostree --repo=repo init --mode=bare
skopeo --insecure-policy copy --quiet "containers-storage:[overlay@$2+$1/tar-way/run]$3" dir:image
for layer in $(sed 's/},{/}\\n{/g' image/manifest.json | sed -n '/layer/s/.*"digest":"sha256:\\([0-9a-f]*\\)".*/\\1/p'); do
  ostree --repo=repo commit --branch="layer-$layer" --tree="tar=image/$layer" --tar-autocreate-parents >/dev/null || echo "ostree refuses $layer" >&2
done`;
  try {
    return await timed("unshare", [
      "--mount",
      "--propagation",
      "private",
      "sh",
      "-euc",
      script,
      "sh",
      folder,
      store,
      name,
    ]);
  } finally {
    rmSync(join(folder, "tar-way"), { recursive: true, force: true });
  }
}

/** Milliseconds that a program takes. */
export async function timed(command: string, args: readonly string[]): Promise<number> {
  const start = performance.now();
  await runProgram(command, args);
  return performance.now() - start;
}
