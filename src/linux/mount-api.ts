import { readSync } from "node:fs";
import { AT_FDCWD, type Descriptor, owned } from "./descriptor.ts";
import { cPath, cSecondPath, displayPath, libc, type PathLike } from "./libc.ts";
import { SystemError } from "./system-error.ts";

export const longestParameter = 255;

export const MOUNT_ATTR_RDONLY = 0x1;
export const MOUNT_ATTR_NOSUID = 0x2;
export const MOUNT_ATTR_NODEV = 0x4;

/**
 * A file system that is being put together (fsopen, Linux 5.2): parameters one by one, then `mount`. Closing
 * it without that leaves nothing behind. Every failure is a SystemError with what the kernel wrote about it.
 */
export class FileSystemContext implements Disposable {
  readonly #type: string;
  readonly #context: Descriptor;

  /** SystemError ENODEV where the kernel has no such file system, EPERM without CAP_SYS_ADMIN. */
  constructor(type: string) {
    this.#type = type;
    const c = libc();
    const fd = c.fsopen(SYS_fsopen, cPath(type), FSOPEN_CLOEXEC);
    if (fd < 0) throw new SystemError("fsopen", c.errno(), type);
    this.#context = owned(fd);
  }

  /** A parameter without a value: "ro". */
  setFlag(key: string): void {
    this.#configure(FSCONFIG_SET_FLAG, key, null);
  }

  /** A parameter with a value of at most `longestParameter` bytes; commas and colons mean nothing here. */
  setString(key: string, value: PathLike): void {
    this.#configure(FSCONFIG_SET_STRING, key, cSecondPath(value), displayPath(value));
  }

  /** Makes the file system, and a mount of it that nobody sees until it is attached, and that goes with its descriptor. */
  mount(attributes: number): Descriptor {
    this.#configure(FSCONFIG_CMD_CREATE);
    const c = libc();
    const fd = c.fsmount(SYS_fsmount, this.#context.fd, FSMOUNT_CLOEXEC, attributes);
    if (fd < 0) throw this.#failure("fsmount", c.errno());
    return owned(fd);
  }

  [Symbol.dispose](): void {
    this.#context[Symbol.dispose]();
  }

  #configure(command: number, key?: string, value: Buffer | null = null, shown?: string): void {
    const c = libc();
    const cKey = key === undefined ? null : cPath(key);
    if (c.fsconfig(SYS_fsconfig, this.#context.fd, command, cKey, value, 0) === 0) return;
    const errno = c.errno();
    throw this.#failure("fsconfig", errno, shown === undefined ? key : `${key}=${shown}`);
  }

  #failure(syscall: string, errno: number, aspect?: string): SystemError {
    const said = this.#messages().join("; ");
    return new SystemError(syscall, errno, this.#type, {
      ...(aspect === undefined ? {} : { aspect }),
      ...(said === "" ? {} : { kernelSaid: said }),
    });
  }

  /** Each read gives one, as "e overlay: …": a letter for its weight, a blank, the text. */
  #messages(): string[] {
    const messages: string[] = [];
    const buffer = Buffer.alloc(longestMessage);
    while (messages.length < mostMessages) {
      let length: number;
      try {
        length = readSync(this.#context.fd, buffer);
      } catch {
        // ENODATA after the last. Any other failure to read must not hide the one that is being told.
        break;
      }
      messages.push(
        buffer
          .toString("utf8", 0, length)
          .replace(/^[a-z] /, "")
          .trim(),
      );
    }
    return messages;
  }
}

/** Shows a mount at a directory, over what is there. Whoever shares the mounts of that place sees it too. */
export function attachMount(mountFd: number, target: PathLike): void {
  const c = libc();
  const result = c.moveMount(
    SYS_move_mount,
    mountFd,
    cPath(""),
    AT_FDCWD,
    cSecondPath(target),
    MOVE_MOUNT_F_EMPTY_PATH,
  );
  if (result !== 0) throw new SystemError("move_mount", c.errno(), displayPath(target));
}

// The same on all architectures.
const SYS_move_mount = 429;
const SYS_fsopen = 430;
const SYS_fsconfig = 431;
const SYS_fsmount = 432;

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const FSCONFIG_SET_FLAG = 0;
const FSCONFIG_SET_STRING = 1;
const FSCONFIG_CMD_CREATE = 6;
const MOVE_MOUNT_F_EMPTY_PATH = 4;
const longestMessage = 1024;
/** The kernel keeps eight. */
const mostMessages = 16;
