import { readlinkSync } from "node:fs";
import { requireProgram } from "./child.ts";
import { keepOverExec } from "./descriptor.ts";
import { withSystemErrors } from "./system-error.ts";

/**
 * Starts this program again, in a mount namespace of its own, where it is not in one yet: mounts of the
 * system come in, ours do not go out and vanish with the last process. It stays the same process, with its
 * arguments, exit status and stdio. Other descriptors that it was given must be named to be kept: Node marks
 * all that it inherits as to be closed by an exec.
 *
 * Must come first of all: a namespace entered later would hold for one thread only, not for those of Node.
 */
export function reexecInMountNamespace(keptFds: readonly number[] = []): void {
  if (inPrivateMountNamespace()) return;
  if (process.execve === undefined) throw new Error("this Node can't replace its process");
  const unshare = requireProgram("unshare");
  for (const fd of keptFds) keepOverExec(fd);
  const args = [...process.execArgv, ...process.argv.slice(1)];
  const env = { ...process.env, [outerNamespace]: currentNamespace() };
  process.execve(unshare, ["unshare", "--mount", "--propagation", "slave", "--", process.execPath, ...args], env);
}

/** Whether `reexecInMountNamespace` has done its work, here or in the process that started this one. */
export function inPrivateMountNamespace(): boolean {
  const outer = process.env[outerNamespace];
  return outer !== undefined && outer !== currentNamespace();
}

const outerNamespace = "ONEHOLD_OUTER_NAMESPACE";

function currentNamespace(): string {
  return withSystemErrors(() => readlinkSync("/proc/self/ns/mnt"));
}
