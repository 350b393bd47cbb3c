import { constants } from "node:fs";
import { type Descriptor, failureOf, openFile } from "./descriptor.ts";
import { libc } from "./libc.ts";
import { isErrno } from "./system-error.ts";

/** A block device that shows a file. The kernel frees it when the last mount and the last descriptor are gone. */
export interface LoopDevice extends Descriptor {
  /** /dev/loop0 */
  readonly path: string;
}

/** Takes a free loop device for an open file, which can then only be read. SystemError. */
export function openLoopDevice(fileFd: number): LoopDevice {
  using control = openFile("/dev/loop-control", constants.O_RDWR);
  for (let attempt = 1; ; attempt += 1) {
    const c = libc();
    const number = c.ioctlValue(control.fd, LOOP_CTL_GET_FREE, 0);
    if (number < 0) throw failureOf("ioctl LOOP_CTL_GET_FREE", c.errno(), control.fd);
    const path = `/dev/loop${number}`;
    const device = openFile(path, constants.O_RDONLY);
    if (configure(device, fileFd, attempt === attempts)) {
      return { path, fd: device.fd, [Symbol.dispose]: () => device[Symbol.dispose]() };
    }
  }
}

/** False where another process took the device first, if that is not `final`. */
function configure(device: Descriptor, fileFd: number, final: boolean): boolean {
  // struct loop_config: fd u32 @0, block_size u32 @4, then struct loop_info64 @8, in which lo_flags u32 @52;
  // reserved u64[8] @240.
  const config = Buffer.alloc(304);
  config.writeUInt32LE(fileFd, 0);
  config.writeUInt32LE(LO_FLAGS_READ_ONLY | LO_FLAGS_AUTOCLEAR, 8 + 52);
  const c = libc();
  if (c.ioctl(device.fd, LOOP_CONFIGURE, config) === 0) return true;
  const error = failureOf("ioctl LOOP_CONFIGURE", c.errno(), device.fd);
  device[Symbol.dispose]();
  if (isErrno(error, "EBUSY") && !final) return false;
  throw error;
}

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const LO_FLAGS_READ_ONLY = 1;
const LO_FLAGS_AUTOCLEAR = 4;
const attempts = 50;
