import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { failureOf } from "./descriptor.ts";
import { libc } from "./libc.ts";
import { isErrno } from "./system-error.ts";

export interface VerityMeasurement {
  readonly algorithm: VerityAlgorithm;
  readonly digest: Buffer;
}

/**
 * Makes a file unchangeable for good, with a digest that the kernel checks on every read: blocks of 4096
 * bytes, no salt, as composefs wants it. The file is open for reading, and for writing by nobody (else
 * SystemError ETXTBSY). "unsupported": the kernel, or the file system as it was made, has no fs-verity.
 */
export function enableVerity(fd: number, algorithm: VerityAlgorithm): "enabled" | "already-enabled" | "unsupported" {
  // struct fsverity_enable_arg: version u32 @0, hash_algorithm u32 @4, block_size u32 @8, salt_size u32 @12,
  // salt_ptr u64, sig_size u32, reserved u32, sig_ptr u64, reserved u64[11].
  const argument = Buffer.alloc(128);
  argument.writeUInt32LE(1, 0);
  argument.writeUInt32LE(algorithm === "sha256" ? FS_VERITY_HASH_ALG_SHA256 : FS_VERITY_HASH_ALG_SHA512, 4);
  argument.writeUInt32LE(4096, 8);
  const c = libc();
  if (c.ioctl(fd, FS_IOC_ENABLE_VERITY, argument) === 0) return "enabled";
  const error = failureOf("ioctl ENABLE_VERITY", c.errno(), fd);
  if (isErrno(error, "EEXIST")) return "already-enabled";
  if (isErrno(error, "ENOTTY", "EOPNOTSUPP")) return "unsupported";
  throw error;
}

/** The digest of a file by which the kernel checks it: no file content is read for that. */
export function measureVerity(fd: number): VerityMeasurement | "not-enabled" | "unsupported" {
  // struct fsverity_digest: digest_algorithm u16 @0, digest_size u16 @2 (in: the room there is), digest @4.
  const argument = Buffer.alloc(4 + longestDigest);
  argument.writeUInt16LE(longestDigest, 2);
  const c = libc();
  if (c.ioctl(fd, FS_IOC_MEASURE_VERITY, argument) === 0) return readMeasurement(argument);
  const error = failureOf("ioctl MEASURE_VERITY", c.errno(), fd);
  if (isErrno(error, "ENODATA")) return "not-enabled";
  if (isErrno(error, "ENOTTY", "EOPNOTSUPP")) return "unsupported";
  throw error;
}

const FS_IOC_ENABLE_VERITY = 0x40806685;
const FS_IOC_MEASURE_VERITY = 0xc0046686;
const FS_VERITY_HASH_ALG_SHA256 = 1;
const FS_VERITY_HASH_ALG_SHA512 = 2;
const longestDigest = 64;

function readMeasurement(argument: Buffer): VerityMeasurement {
  const algorithm = argument.readUInt16LE(0) === FS_VERITY_HASH_ALG_SHA256 ? "sha256" : "sha512";
  return { algorithm, digest: argument.subarray(4, 4 + argument.readUInt16LE(2)) };
}
