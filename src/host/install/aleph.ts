import os from "node:os";
import path from "node:path";
import type { Digest } from "#base/digest.ts";
import type { ImageConfig } from "#formats/oci.ts";
import { writeFileDurably } from "#linux/durable.ts";

export interface AlephRecord {
  /** As bootc names images: a registry's without its transport. */
  readonly image: string;
  readonly targetImage: string;
  readonly digest: Digest;
  readonly config: ImageConfig;
  readonly selinux: "enabled" | "disabled";
}

/** Writes down, as bootc does, what a sysroot was installed from: `.bootc-aleph.json`, which no later upgrade changes. */
export function writeAleph(root: string, { image, targetImage, digest, config, selinux }: AlephRecord): void {
  const record = {
    image,
    digest,
    "target-image": targetImage,
    labels: config.labels,
    version: config.labels["org.opencontainers.image.version"] ?? null,
    timestamp: config.created ?? null,
    kernel: os.release(),
    selinux,
  };
  writeFileDurably(path.join(root, ".bootc-aleph.json"), `${JSON.stringify(record)}\n`);
}
