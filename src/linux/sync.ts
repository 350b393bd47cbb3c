import { fsyncSync } from "node:fs";
import { failureOf, openDirectory } from "./descriptor.ts";
import { libc } from "./libc.ts";
import { withSystemErrors } from "./system-error.ts";

/**
 * Writes everything of the file system that holds this open file to the disk, and reports write errors since
 * the file was opened. Blocks for as long as that takes: seconds.
 */
export function syncfs(fd: number): void {
  const c = libc();
  if (c.syncfs(fd) !== 0) throw failureOf("syncfs", c.errno(), fd);
}

/**
 * Gives a later `syncfs` a head start: begins the same on another thread, while this one has other things to do.
 * Resolves when it is done; only the later one tells of errors.
 */
export function beginSync(fd: number): Promise<void> {
  return new Promise((resolve) => libc().syncfsAside(fd, resolve));
}

/** Makes the entries of a directory durable: what was made, renamed or removed in it. */
export function syncDirectory(path: string): void {
  using directory = openDirectory(path);
  withSystemErrors(() => fsyncSync(directory.fd));
}
