import { messageOf, OneholdError } from "#base/errors.ts";
import type { Descriptor } from "#linux/descriptor.ts";
import { openLoopDevice } from "#linux/loop-device.ts";
import { FileSystemContext, MOUNT_ATTR_RDONLY } from "#linux/mount-api.ts";
import { isErrno } from "#linux/system-error.ts";

/** How the kernel reads an image. Straight from its file since Linux 6.12, if it was built so. */
export type Backing = "file" | "loop-device";

/** What the kernel answers where stored data is not what it should be. */
export const damage = ["EIO", "EUCLEAN", "EBADMSG"] as const;

export interface ErofsMount {
  /** Nobody sees the mount; it goes when this is closed, or with the last mount that is made of it. */
  readonly mount: Descriptor;
  readonly backing: Backing;
}

/**
 * Mounts an EROFS image, by itself: files whose content is in objects are empty holes. `name` is for messages.
 * Errors: "corrupt" for what is no such image, "unsupported".
 */
export function mountErofs(imageFd: number, name: string): ErofsMount {
  try {
    return { mount: mountSource(`/proc/self/fd/${imageFd}`), backing: "file" };
  } catch (error) {
    // It wants a block device.
    if (!isErrno(error, "ENOTBLK")) throw explain(error, name);
  }
  using device = openLoopDevice(imageFd);
  try {
    return { mount: mountSource(device.path), backing: "loop-device" };
  } catch (error) {
    throw explain(error, name);
  }
}

function mountSource(source: string): Descriptor {
  using context = new FileSystemContext("erofs");
  context.setFlag("ro");
  context.setString("source", source);
  return context.mount(MOUNT_ATTR_RDONLY);
}

function explain(error: unknown, name: string): unknown {
  if (isErrno(error, "ENODEV")) {
    return new OneholdError("unsupported", "this kernel has no EROFS, which composefs images are", {
      cause: error,
      hint: "Boot a kernel with CONFIG_EROFS_FS, or load its module 'erofs'.",
    });
  }
  if (isErrno(error, "EINVAL", "EOPNOTSUPP", ...damage)) {
    return new OneholdError("corrupt", `the kernel takes ${name} for no valid EROFS image: ${messageOf(error)}`, {
      cause: error,
      subject: name,
      hint: "The image is damaged or of another format: make it again. The kernel's log may say more.",
    });
  }
  return error;
}
