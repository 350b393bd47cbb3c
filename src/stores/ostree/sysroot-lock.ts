import fs from "node:fs";
import path from "node:path";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { lock } from "#linux/locks.ts";
import type { Repository } from "./repository.ts";

/**
 * Takes the lock of the sysroot that the repository belongs to, which bootc, rpm-ostree and `ostree admin` hold
 * from the first layer of a pull until its image has a ref. Whoever holds it deletes the file at the end, so a
 * lock on a file that has gone meanwhile is none.
 */
export async function lockOstreeSysroot(
  repository: Repository,
  options: { onWait?: () => void; signal?: AbortSignal } = {},
): Promise<Disposable> {
  const file = path.join(path.dirname(repository.path), "lock");
  for (;;) {
    const descriptor = openFile(file, fs.constants.O_RDWR | fs.constants.O_CREAT, 0o600);
    try {
      await lock(descriptor.fd, "exclusive", { what: `the ostree sysroot (${file})`, ...options });
    } catch (error) {
      descriptor[Symbol.dispose]();
      throw error;
    }
    if (isStillAt(descriptor, file)) {
      return {
        [Symbol.dispose]() {
          fs.rmSync(file, { force: true });
          descriptor[Symbol.dispose]();
        },
      };
    }
    descriptor[Symbol.dispose]();
  }
}

function isStillAt({ fd }: Descriptor, file: string): boolean {
  const opened = fs.fstatSync(fd);
  const there = fs.statSync(file, { throwIfNoEntry: false });
  return there?.ino === opened.ino && there.dev === opened.dev;
}
