import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { isErrno } from "#linux/system-error.ts";
import { enableVerity } from "#linux/verity.ts";

/** Each is a millisecond: another thread that has just started a program may have lent it our descriptor. */
const attempts = 50;
const clock = new Int32Array(new SharedArrayBuffer(4));

/** Gives a file fs-verity; it is open for reading alone, and by nobody for writing. */
export function seal(fd: number, algorithm: VerityAlgorithm): ReturnType<typeof enableVerity> {
  for (let attempt = 1; ; attempt++) {
    try {
      return enableVerity(fd, algorithm);
    } catch (error) {
      if (!isErrno(error, "ETXTBSY") || attempt === attempts) throw error;
      Atomics.wait(clock, 0, 0, 1);
    }
  }
}
