import { constants, fstatSync, readSync } from "node:fs";
import { OneholdError } from "#base/errors.ts";
import type { VerityAlgorithm } from "#base/verity-algorithm.ts";
import { VerityDigester, verityDigestSize } from "#formats/fs-verity.ts";
import { openBeneath } from "#linux/beneath.ts";
import { type Descriptor, openDirectory, openFile, pathOfFd } from "#linux/descriptor.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";
import { measureVerity } from "#linux/verity.ts";

/** An EROFS image, as it is stored in a file. */
export interface ImageFile extends Descriptor {
  /** The fs-verity digest that its place in the repository promises, in hex. */
  readonly promised: string | undefined;
}

/**
 * Opens an image: by its digest in hex, by a ref below `images/refs`, or, where the name begins with a slash or
 * a dot, the file of that path. What it promises is not verified. Errors: "not-found", "corrupt".
 */
export function openImageFile(repository: string, name: string): ImageFile {
  try {
    if (/^[./]/.test(name))
      return imageFile(openFile(name, constants.O_RDONLY | constants.O_NONBLOCK), name, undefined);
    if (name.split("/").some((part) => part === "" || part === "." || part === "..")) throw noImage(repository, name);
    using root = openDirectory(repository);
    const isHex = /^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(name);
    const path = isHex ? `images/${name}` : `images/refs/${name}`;
    const file = openBeneath(root.fd, path, constants.O_RDONLY | constants.O_NONBLOCK);
    const promised = /\/objects\/([0-9a-f]{2})\/([0-9a-f]{62}(?:[0-9a-f]{64})?)$/.exec(pathOfFd(file.fd) ?? "");
    const opened = imageFile(file, name, promised?.slice(1).join(""));
    if (opened.promised !== undefined && (!isHex || opened.promised === name)) return opened;
    opened[Symbol.dispose]();
    throw new OneholdError("corrupt", `${repository}/${path} does not lead to the object of an image`, {
      subject: name,
      hint: "The repository is damaged: make the image again.",
    });
  } catch (error) {
    if (isErrno(error, "ENOENT", "ENOTDIR", "ENAMETOOLONG")) throw noImage(repository, name, error);
    if (!isErrno(error, "EXDEV", "ELOOP")) throw error;
    throw new OneholdError("corrupt", `${name} in ${repository} is a link that leads out of it, or nowhere`, {
      cause: error,
      subject: name,
      hint: "The repository is damaged: make the image again.",
    });
  }
}

/**
 * Compares an image with its fs-verity digest (hex; its length tells the algorithm): as the kernel measures it,
 * which must be so with `byKernel`, else by reading all of it. Error: "corrupt".
 */
export function verifyImageFile(fd: number, digest: string, byKernel: boolean): void {
  const algorithm = digest.length === 2 * verityDigestSize("sha256") ? "sha256" : "sha512";
  const measured = measureVerity(fd);
  const enabled = typeof measured === "object" && measured.algorithm === algorithm;
  if (byKernel && !enabled) {
    throw new OneholdError(
      "corrupt",
      `image ${digest} has no fs-verity of ${algorithm}, but its repository demands it`,
      {
        subject: digest,
        hint: "The image was put there by other means, or the repository was copied: make the image again.",
      },
    );
  }
  const actual = (enabled ? measured.digest : computeDigest(fd, algorithm)).toString("hex");
  if (actual === digest) return;
  throw new OneholdError(
    "corrupt",
    `the image is not the one that was asked for: its digest is ${actual}, not ${digest}`,
    {
      subject: digest,
      hint: "The image is damaged, or was replaced: make it again.",
    },
  );
}

function imageFile(file: Descriptor, name: string, promised: string | undefined): ImageFile {
  const stat = withSystemErrors(() => fstatSync(file.fd));
  if (stat.isFile()) return { fd: file.fd, promised, [Symbol.dispose]: () => file[Symbol.dispose]() };
  file[Symbol.dispose]();
  throw new OneholdError("corrupt", `${name} is not a file, so no composefs image`, {
    subject: name,
    hint: "Name the image itself.",
  });
}

function computeDigest(fd: number, algorithm: VerityAlgorithm): Buffer {
  const digester = new VerityDigester(algorithm);
  const buffer = Buffer.allocUnsafe(pieceSize);
  for (let position = 0; ; ) {
    const length = withSystemErrors(() => readSync(fd, buffer, 0, pieceSize, position));
    if (length === 0) return digester.digest();
    digester.update(buffer.subarray(0, length));
    position += length;
  }
}

const pieceSize = 1024 * 1024;

function noImage(repository: string, name: string, cause?: unknown): OneholdError {
  return new OneholdError("not-found", `there is no composefs image ${name} in ${repository}`, {
    ...(cause === undefined ? {} : { cause }),
    subject: name,
    hint: "Name it by its digest in hex, by a ref below images/refs, or as a file: with a path that begins with / or ./.",
  });
}
