import { readFileSync } from "node:fs";

/** The permissions that new files of this process don't get. Reading it from /proc does not touch it, as umask(2) does. */
export function umask(): number {
  const digits = /^Umask:\t([0-7]+)$/m.exec(readFileSync("/proc/self/status", "latin1"))?.[1];
  if (digits === undefined) throw new Error("/proc/self/status does not tell the umask");
  return Number.parseInt(digits, 8);
}
