import { resolve } from "node:path";
import { formatBytes, formatDuration } from "#base/amounts.ts";
import { install, type InstallResult } from "#host/install/install.ts";
import { parseReference } from "#image/reference.ts";
import { reexecInMountNamespace } from "#linux/namespace.ts";
import type { VerbContext } from "../context.ts";
import { hostContext } from "../host-context.ts";
import type { InstallToFilesystemOptions } from "../options.ts";

export async function run(options: InstallToFilesystemOptions, context: VerbContext): Promise<number> {
  const image = parseReference(options.sourceImgref);
  const targetImage = options.targetImgref === undefined ? undefined : parseReference(options.targetImgref);
  const host = hostContext({ ...context, sysroot: resolve(options.root) });
  reexecInMountNamespace(context.givenFds);
  const { stateroot, boundImages, allowCopy, source, tlsVerify, karg = [] } = options;
  const result = await install(host, {
    image,
    targetImage,
    stateroot,
    kernelArguments: karg,
    boundImages,
    allowCopy,
    source,
    tlsVerify,
  });
  context.print(result, render);
  return 0;
}

function render(result: InstallResult): string {
  const { bytes, boundImages, ostree, milliseconds } = result;
  const { reflinked, hardlinked, copied } =
    ostree.state === "imported"
      ? ostree.account
      : { reflinked: { bytes: 0 }, hardlinked: { bytes: 0 }, copied: { bytes: 0 } };
  return [
    `${result.root} boots ${result.image}  ${result.digest}`,
    ...(result.targetImage === result.image ? [] : [`  follows      ${result.targetImage}`]),
    `  fetched      ${formatBytes(bytes.fetched)}`,
    `  shared       ${formatBytes(reflinked.bytes + hardlinked.bytes)} with ostree; ${formatBytes(copied.bytes)} copied`,
    ...boundImages.map(({ image, digest }) => `  bound image  ${image}  ${digest}`),
    `  deployment   ${result.deployment} in ${result.stateroot}`,
    `  arguments    ${result.kernelArguments.join(" ")}`,
    `  took         ${formatDuration(milliseconds.total)}`,
    "No boot loader was installed: docs/how-to.md tells how to add one.",
  ].join("\n");
}
