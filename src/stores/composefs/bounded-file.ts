import fs from "node:fs";
import { OneholdError } from "#base/errors.ts";

/** All bytes of an open file, of which no more than `most` are taken. @throws corrupt for a larger file */
export function readBounded(fd: number, most: number, name: string): Buffer {
  const { size } = fs.fstatSync(fd);
  if (size > most) {
    throw new OneholdError("corrupt", `${name} has ${size} bytes, the limit is ${most}`, { subject: name });
  }
  const bytes = Buffer.allocUnsafeSlow(size);
  let filled = 0;
  for (let count = -1; count !== 0 && filled < size; filled += count) {
    count = fs.readSync(fd, bytes, filled, size - filled, filled);
  }
  return bytes.subarray(0, filled);
}
