import { constants, fstatSync } from "node:fs";
import { byteStringOfText } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { isObjectId, type ObjectId } from "#formats/composefs-objects.ts";
import { VerityDigester, verityDigestSize } from "#formats/fs-verity.ts";
import { type Descriptor, openFile } from "#linux/descriptor.ts";
import { isErrno, withSystemErrors } from "#linux/system-error.ts";
import { measureVerity } from "#linux/verity.ts";
import { linkedObject, listRefs, nameOfRef } from "./links.ts";
import { openObject, piecesOf } from "./objects.ts";
import type { Repository } from "./repository.ts";

/**
 * Finds an image of a repository by its digest in hex, or by a ref below `images/refs`. Errors: "not-found",
 * "corrupt" for a name that leads elsewhere.
 */
export function findImage(repository: Repository, name: string): ObjectId {
  const ref = listRefs(repository, "images").find((link) => link.name === byteStringOfText(name));
  const digest = ref === undefined ? name : nameOfRef(ref);
  const known = isObjectId(digest, repository.meta.algorithm);
  const id = known ? linkedObject(repository, "images", digest) : undefined;
  if (id !== undefined && id === digest) return id;
  if (ref === undefined && (!known || id === undefined)) throw noImage(repository.path, name);
  throw new OneholdError("corrupt", `the image ${name} of ${repository.path} is a link to something else`, {
    subject: name,
    hint: "The repository is damaged: make the image again.",
  });
}

/** Opens an image of a repository; what is in it is not verified. Error: "not-found". */
export function openImage(repository: Repository, id: ObjectId): Descriptor {
  const file = openObject(repository, id);
  if (file === undefined) throw noImage(repository.path, id);
  return demandFile(file, id);
}

/** Opens an image that is in no repository. Errors: "not-found", "corrupt". */
export function openImageFile(path: string): Descriptor {
  try {
    return demandFile(openFile(path, constants.O_RDONLY | constants.O_NONBLOCK), path);
  } catch (error) {
    if (!isErrno(error, "ENOENT", "ENOTDIR")) throw error;
    throw new OneholdError("not-found", `there is no image file ${path}`, {
      cause: error,
      subject: path,
      hint: "A name that begins with a slash or a dot is a path; all others are digests or refs.",
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
  let actual: Buffer;
  if (enabled) actual = measured.digest;
  else {
    const digester = new VerityDigester(algorithm);
    withSystemErrors(() => {
      for (const piece of piecesOf(fd)) digester.update(piece);
    });
    actual = digester.digest();
  }
  if (actual.toString("hex") === digest) return;
  throw new OneholdError(
    "corrupt",
    `the image is not the one that was asked for: its digest is ${actual.toString("hex")}, not ${digest}`,
    { subject: digest, hint: "The image is damaged, or was replaced: make it again." },
  );
}

function demandFile(file: Descriptor, name: string): Descriptor {
  if (withSystemErrors(() => fstatSync(file.fd)).isFile()) return file;
  file[Symbol.dispose]();
  throw new OneholdError("corrupt", `${name} is not a file, so no composefs image`, {
    subject: name,
    hint: "Name the image itself.",
  });
}

function noImage(repository: string, name: string): OneholdError {
  return new OneholdError("not-found", `there is no composefs image ${name} in ${repository}`, {
    subject: name,
    hint: "Name it by its digest in hex, by a ref below images/refs, by the name of a container image, or as a file: with a path that begins with / or ./.",
  });
}
