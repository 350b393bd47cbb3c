import fs from "node:fs";
import { type ByteString, byteString, displayBytes } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import { parseCommit } from "#formats/ostree-commit.ts";
import { type Dirtree, parseDirtree } from "#formats/ostree-dirtree.ts";
import type { Checksum } from "#formats/ostree-objects.ts";
import { isErrno } from "#linux/system-error.ts";
import { objectFile, readMetadataObject, type Repository } from "./repository.ts";

/** What a path of a commit's tree is. */
export type CommitEntry =
  | { readonly kind: "directory"; readonly names: readonly ByteString[] }
  | { readonly kind: "file"; readonly checksum: Checksum; readonly size: number }
  | { readonly kind: "symlink"; readonly target: ByteString };

/** As many symlinks as Linux follows for one path. */
const maxSymlinks = 40;

/**
 * Reads single files of a commit that nobody has checked out: what a deployment of it will have. Symlinks never lead
 * out of the tree: its root is `/` to them, and `..` of the root is the root.
 */
export class CommitFiles {
  readonly #repository: Repository;
  readonly #root: Dirtree;

  /** @throws OneholdError "not-found" */
  constructor(repository: Repository, commit: Checksum) {
    this.#repository = repository;
    const bytes = readMetadataObject(repository, commit, "commit");
    if (bytes === undefined) {
      throw new OneholdError("not-found", `there is no commit ${commit} in ${repository.path}`, {
        subject: repository.path,
      });
    }
    this.#root = this.#directory(parseCommit(bytes).tree);
  }

  /** What is at a path, symlinks followed (the last one only with `follow`). `undefined` where nothing is. */
  find(path: ByteString, follow = true): CommitEntry | undefined {
    const waiting = namesOf(path).toReversed();
    const above: Dirtree[] = [this.#root];
    let symlinks = 0;
    for (let name = waiting.pop(); name !== undefined; name = waiting.pop()) {
      const directory = above.at(-1) ?? this.#root;
      if (name === "." || name === "..") {
        if (name === ".." && above.length > 1) above.pop();
        continue;
      }
      const below = directory.directories.find((each) => each.name === name);
      if (below !== undefined) {
        above.push(this.#directory(below.tree));
        continue;
      }
      const file = directory.files.find((each) => each.name === name);
      if (file === undefined) return undefined;
      const entry = this.#file(file.checksum);
      if (entry.kind === "symlink" && (follow || waiting.length > 0)) {
        if (++symlinks > maxSymlinks) {
          throw new OneholdError(
            "corrupt",
            `more than ${maxSymlinks} symlinks are on the way to /${displayBytes(path)}`,
          );
        }
        if (entry.target.startsWith("/")) above.length = 1;
        waiting.push(...namesOf(entry.target).toReversed());
        continue;
      }
      return waiting.length === 0 ? entry : undefined;
    }
    const { directories, files } = above.at(-1) ?? this.#root;
    return { kind: "directory", names: [...directories, ...files].map(({ name }) => name) };
  }

  /** The names in a directory, in order; none where there is no such directory. */
  list(path: ByteString): readonly ByteString[] {
    const entry = this.find(path);
    return entry?.kind === "directory" ? entry.names.toSorted() : [];
  }

  /** A regular file's content. @throws OneholdError "not-found", "unsupported" beyond `limit` bytes */
  read(path: ByteString, limit: number): Buffer {
    const entry = this.find(path);
    if (entry?.kind !== "file") {
      throw new OneholdError("not-found", `/${displayBytes(path)} of the image is not a regular file`);
    }
    if (entry.size > limit) {
      throw new OneholdError(
        "unsupported",
        `/${displayBytes(path)} of the image has ${entry.size} bytes, the limit is ${limit}`,
      );
    }
    return fs.readFileSync(objectFile(this.#repository, entry.checksum, "file"));
  }

  #directory(tree: Checksum): Dirtree {
    const bytes = readMetadataObject(this.#repository, tree, "dirtree");
    if (bytes === undefined) throw this.#missing(tree, "dirtree");
    return parseDirtree(bytes);
  }

  #file(checksum: Checksum): Exclude<CommitEntry, { kind: "directory" }> {
    const path = objectFile(this.#repository, checksum, "file");
    try {
      const stat = fs.lstatSync(path);
      if (!stat.isSymbolicLink()) return { kind: "file", checksum, size: stat.size };
      return { kind: "symlink", target: byteString(fs.readlinkSync(path, "buffer")) };
    } catch (error) {
      if (isErrno(error, "ENOENT")) throw this.#missing(checksum, "file");
      throw error;
    }
  }

  #missing(checksum: Checksum, type: string): OneholdError {
    return new OneholdError("corrupt", `the object ${checksum}.${type} is missing in ${this.#repository.path}`, {
      subject: this.#repository.path,
      hint: "Run `ostree fsck` on the repository.",
    });
  }
}

function namesOf(path: ByteString): ByteString[] {
  return path.split("/").filter((name) => name !== "") as ByteString[];
}
