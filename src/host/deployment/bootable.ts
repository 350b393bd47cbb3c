import { byteStringOfText, type ByteString, displayBytes, joinBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import type { ReportProgress } from "#base/progress.ts";
import { kernelArgumentsOf, maxKernelArgumentFile } from "#boot/kernel-arguments-of-image.ts";
import type { CommitFiles } from "#stores/ostree/commit-files.ts";
import type { PullResult } from "../pull.ts";

const at = byteStringOfText;
const modules = at("usr/lib/modules");
const storage = at("usr/lib/bootc/storage");
const kargs = at("usr/lib/bootc/kargs.d");

/** An image that ostree has. */
export type HostImage = PullResult & { readonly ostree: NonNullable<PullResult["ostree"]> };

/** Refuses an image that ostree did not get. */
export function demandHostImage(pulled: PullResult): HostImage {
  const { ostree, reference } = pulled;
  if (ostree !== undefined) return { ...pulled, ostree };
  throw new OneholdError("unsupported", `${reference} is not an image of a host: it has no label containers.bootc`, {
    subject: reference,
    hint: "Build it with `LABEL containers.bootc 1`, on a base that has a kernel.",
  });
}

/** Refuses what could be deployed and would not boot. `reference` names the image. */
export function demandBootable(files: CommitFiles, reference: string): void {
  const lacks = (what: string, hint: string) =>
    new OneholdError("unsupported", `${reference} can't boot: it has no ${what}`, { subject: reference, hint });
  const kernels = files
    .list(modules)
    .filter((version) => files.find(joinBytes(joinBytes(modules, version), at("vmlinuz"))) !== undefined);
  if (kernels.length === 0) {
    throw lacks(
      "kernel (usr/lib/modules/VERSION/vmlinuz)",
      "Install a kernel in the image, with its initramfs.img beside it.",
    );
  }
  if (files.find(at("sysroot"))?.kind !== "directory") {
    throw lacks(
      "directory /sysroot, where the disk is mounted",
      "Add `mkdir /sysroot && ln -s sysroot/ostree /ostree`.",
    );
  }
}

/** Says what an image lacks for its bound images to be found by podman. */
export function adviseOnStorageLink(files: CommitFiles, report: ReportProgress): void {
  const link = files.find(storage, false);
  const target = link?.kind === "symlink" ? link.target : undefined;
  if (target !== undefined && resolvesToStore(target)) return;
  const is = target === undefined ? "has no link" : `has a link to ${displayBytes(target)} at`;
  report({
    kind: "notice",
    level: "warning",
    text: `the image ${is} /usr/lib/bootc/storage: units that name it as an additional image store find none (ln -s ../../../sysroot/ostree/bootc/storage /usr/lib/bootc/storage)`,
  });
}

function resolvesToStore(target: ByteString): boolean {
  return target === "/sysroot/ostree/bootc/storage" || target === "../../../sysroot/ostree/bootc/storage";
}

/** What the image's own files want on the kernel's command line, on this machine. */
export function imageKernelArguments(files: CommitFiles): string[] {
  const found = files.list(kargs).map((name) => ({
    name: displayBytes(name),
    read: () => files.read(joinBytes(kargs, name), maxKernelArgumentFile).toString("utf8"),
  }));
  const named = found.filter(({ name }) => name.endsWith(".toml"));
  return kernelArgumentsOf(
    named.map(({ name, read }) => ({ name, text: read() })),
    process.arch,
  );
}
