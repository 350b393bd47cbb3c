import { createHash } from "node:crypto";

const block = 4096;

/** A file's fs-verity digest (SHA-256), as the kernel's documentation has it: small, and not the program's own. */
export function verityDigest(content: Buffer): string {
  let level = content.length === 0 ? Buffer.alloc(32) : content;
  while (level.length > 32 || level === content) {
    const hashes: Buffer[] = [];
    for (let at = 0; at < level.length; at += block) {
      const padded = Buffer.alloc(block);
      level.copy(padded, 0, at, at + block);
      hashes.push(createHash("sha256").update(padded).digest());
    }
    level = Buffer.concat(hashes);
  }
  const descriptor = Buffer.alloc(256);
  descriptor.set([1, 1, 12, 0]);
  descriptor.writeBigUInt64LE(BigInt(content.length), 8);
  level.copy(descriptor, 16);
  return createHash("sha256").update(descriptor).digest("hex");
}
