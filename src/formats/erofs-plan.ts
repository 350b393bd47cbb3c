import { type ByteString, byteString } from "#base/bytes.ts";
import { OneholdError } from "#base/errors.ts";
import {
  type ComposefsCompat,
  type ComposefsDirectory,
  type ComposefsInode,
  type ComposefsLeaf,
  demandWritable,
  fileType,
  isWhiteout,
  modeOf,
} from "./composefs-tree.ts";
import { withDots } from "./erofs-directory.ts";
import { direntTypeOfMode, type ErofsFormat, stubNames } from "./erofs-format.ts";
import * as overlay from "./erofs-overlay.ts";
import { type PooledXattr, type SharedXattrs, XattrPool } from "./erofs-xattr-pool.ts";
import { noXattrs } from "./xattrs.ts";

/** An inode of the image to be, as the overlay shall see it. */
export interface PlannedInode {
  readonly source: ComposefsInode;
  readonly mode: number;
  readonly direntType: number;
  xattrs: readonly PooledXattr[];
  links: number;
  /** Names of a directory in order, `.` and `..` among them, and what they stand for. */
  readonly names: ByteString[];
  readonly targets: PlannedInode[];
  /** Of a leaf: the directory with its first name. Of a directory: the one above. */
  readonly home: PlannedInode | undefined;
  /** Among all inodes, in the order in which they are stored; -1 until it has a place. */
  index: number;
}

export interface Plan {
  readonly inodes: readonly PlannedInode[];
  readonly pool: XattrPool;
  readonly shared: SharedXattrs;
}

/**
 * Turns a tree into what is stored: overlay's own xattrs added, the tree's kept from overlayfs, whiteouts and stubs
 * as the format has them, and all in the order of the format.
 * @throws OneholdError "unsupported" for what the format can't hold
 */
export function planImage(root: ComposefsDirectory, format: ErofsFormat, compat: ComposefsCompat): Plan {
  const planner = new Planner(root, format, compat);
  const top = planner.planDirectory(root, undefined, 0);
  const { pool, inDepth } = planner;
  return { inodes: format === 2 ? inDepth : breadthFirst(top), pool, shared: pool.close() };
}

class Planner {
  readonly pool: XattrPool;
  /** A directory, all that is below it, the next directory. */
  readonly inDepth: PlannedInode[] = [];
  readonly #root: ComposefsDirectory;
  readonly #format: ErofsFormat;
  readonly #compat: ComposefsCompat;
  readonly #leaves = new Map<ComposefsLeaf, PlannedInode>();
  readonly #stubs = new Set<ComposefsLeaf>();

  constructor(root: ComposefsDirectory, format: ErofsFormat, compat: ComposefsCompat) {
    this.#root = root;
    this.#format = format;
    this.#compat = compat;
    this.pool = new XattrPool(format, compat);
  }

  /** @param path bytes of the path to it, without a slash at its end */
  planDirectory(directory: ComposefsDirectory, above: PlannedInode | undefined, path: number): PlannedInode {
    const planned = this.#add(directory, modeOf(directory), above);
    planned.links = 2;
    const entries = above === undefined && this.#format !== 2 ? this.#withStubs(directory) : directory.entries;
    let hasWhiteouts = false;
    for (const name of withDots([...entries.keys()].toSorted())) {
      const target = entries.get(name);
      if (target !== undefined) demandWritable(name, path + 1 + name.length);
      planned.names.push(name);
      if (target === undefined) {
        planned.targets.push(name === "." ? planned : (above ?? planned));
      } else if (target.kind === "directory") {
        planned.targets.push(this.planDirectory(target, planned, path + 1 + name.length));
        planned.links++;
      } else {
        const isEscaped = this.#isEscaped(target, name, planned);
        // A further name of a whiteout, which only the C tools take, doesn't count.
        hasWhiteouts ||= isEscaped && !this.#leaves.has(target);
        planned.targets.push(this.#planLeaf(target, isEscaped, planned));
      }
    }
    planned.xattrs = this.#xattrsOfDirectory(directory, hasWhiteouts);
    return planned;
  }

  #planLeaf(leaf: ComposefsLeaf, isEscaped: boolean, home: PlannedInode): PlannedInode {
    const known = this.#leaves.get(leaf);
    if (known !== undefined) {
      known.links++;
      if (isWhiteout(leaf) && this.#compat === "rust") {
        throw new OneholdError("unsupported", "a composefs image can't hold a whiteout with several names");
      }
      return known;
    }
    if (this.#format === 2) demandNoOldWhiteout(leaf);
    const mode = isEscaped ? fileType.regular | leaf.metadata.permissions : modeOf(leaf);
    const planned = this.#add(leaf, mode, home);
    this.#leaves.set(leaf, planned);
    planned.links = 1;
    planned.xattrs = isEscaped ? this.#with(leaf, overlay.xattrsOfWhiteout) : this.#xattrsOfLeaf(leaf);
    return planned;
  }

  #add(source: ComposefsInode, mode: number, home: PlannedInode | undefined): PlannedInode {
    const isDirectory = source.kind === "directory";
    const planned: PlannedInode = {
      source,
      mode,
      direntType: direntTypeOfMode(mode),
      xattrs: noPooled,
      links: 0,
      names: isDirectory ? [] : noNames,
      targets: isDirectory ? [] : noTargets,
      home,
      index: this.#format === 2 ? this.inDepth.length : -1,
    };
    if (this.#format === 2) this.inDepth.push(planned);
    return planned;
  }

  /** The root's entries, and a device of number 0 at each name that a folder of objects would else show. */
  #withStubs(root: ComposefsDirectory): ReadonlyMap<ByteString, ComposefsInode> {
    const { uid, gid, mtime, xattrs } = root.metadata;
    const labels = xattrs.filter(({ name }) => name === selinuxName);
    const metadata = { permissions: 0o644, uid, gid, mtime, xattrs: labels.length === 0 ? noXattrs : labels };
    const entries = new Map(root.entries);
    for (const name of stubNames) {
      if (entries.has(name)) continue;
      const stub: ComposefsLeaf = { kind: "special", metadata, type: "char", rdev: 0 };
      this.#stubs.add(stub);
      entries.set(name, stub);
    }
    return entries;
  }

  /** composefs-rs takes a whiteout of the root that looks like a stub for one. */
  #isEscaped(leaf: ComposefsLeaf, name: ByteString, home: PlannedInode): boolean {
    if (this.#format === 2 || !isWhiteout(leaf) || this.#stubs.has(leaf)) return false;
    const mayBeStub = this.#compat === "rust" && home.home === undefined && stubNameSet.has(name);
    return !(mayBeStub && looksLikeStub(leaf, this.#root));
  }

  #xattrsOfLeaf(leaf: ComposefsLeaf): readonly PooledXattr[] {
    const pooled: PooledXattr[] = [];
    if (leaf.kind === "external" && (leaf.size > 0 || this.#format === 2)) {
      pooled.push(this.pool.add(overlay.metacopyName, overlay.metacopyValue(leaf.digest)));
      const redirect = overlay.redirectValue(leaf, this.#compat);
      if (redirect !== "") pooled.push(this.pool.add(overlay.redirectName, redirect));
    }
    this.#addOwn(leaf, pooled);
    return this.#ordered(pooled);
  }

  #xattrsOfDirectory(directory: ComposefsDirectory, hasWhiteouts: boolean): readonly PooledXattr[] {
    const added = new Map(hasWhiteouts ? overlay.xattrsOfWhiteouts(this.#format) : []);
    if (this.#format !== 2 && directory === this.#root) added.set(overlay.opaqueName, overlay.opaqueRoot);
    return this.#with(directory, added);
  }

  /** With these in the place of its own of that name. */
  #with(inode: ComposefsInode, added: ReadonlyMap<ByteString, ByteString>): readonly PooledXattr[] {
    const pooled: PooledXattr[] = [];
    this.#addOwn(inode, pooled, added);
    for (const [name, value] of added) pooled.push(this.pool.add(name, value));
    return this.#ordered(pooled);
  }

  #addOwn(inode: ComposefsInode, to: PooledXattr[], replaced?: ReadonlyMap<ByteString, ByteString>): void {
    const { xattrs } = inode.metadata;
    // Format 2 keeps the order that the names have before they are escaped.
    const isSorted = xattrs.length < 2 || this.#format !== 2;
    for (const { name, value } of isSorted ? xattrs : xattrs.toSorted((a, b) => (a.name < b.name ? -1 : 1))) {
      const escaped = overlay.escapeOverlayName(name);
      if (replaced?.has(escaped) !== true) to.push(this.pool.add(escaped, byteString(value)));
    }
  }

  /** In an array with no room for more, as there are so many. */
  #ordered(xattrs: PooledXattr[]): readonly PooledXattr[] {
    if (xattrs.length === 0) return noPooled;
    if (xattrs.length === 1 || this.#format === 2) return [...xattrs];
    return xattrs.toSorted((a, b) => (a.name.full < b.name.full ? -1 : 1));
  }
}

const noPooled: readonly PooledXattr[] = [];
const noNames: ByteString[] = [];
const noTargets: PlannedInode[] = [];
const stubNameSet: ReadonlySet<ByteString> = new Set(stubNames);
const selinuxName = "security.selinux";

/** composefs-rs takes such a file for a whiteout in the form of an older format, and refuses to read the image. */
function demandNoOldWhiteout(leaf: ComposefsLeaf): void {
  if (leaf.kind !== "inline" || leaf.content.length > 0 || !overlay.hasWhiteoutMark(leaf.metadata.xattrs)) return;
  const what = "an empty file that overlayfs takes for a whiteout";
  throw new OneholdError("unsupported", `a composefs image of format 2 can't hold ${what}`);
}

function looksLikeStub({ metadata }: ComposefsLeaf, root: ComposefsDirectory): boolean {
  const { uid, gid, mtime, xattrs } = root.metadata;
  const label = xattrs.find(({ name }) => name === selinuxName);
  const [own, ...more] = metadata.xattrs;
  const hasLabel = label === undefined ? own === undefined : own?.name === selinuxName && own.value.equals(label.value);
  return (
    hasLabel &&
    more.length === 0 &&
    metadata.permissions === 0o644 &&
    metadata.uid === uid &&
    metadata.gid === gid &&
    metadata.mtime.seconds === mtime.seconds &&
    metadata.mtime.nanoseconds === mtime.nanoseconds
  );
}

/** A file with several names stands where the first of them in depth-first order is. */
function breadthFirst(root: PlannedInode): PlannedInode[] {
  const inodes = [root];
  root.index = 0;
  for (let next = 0; next < inodes.length; next++) {
    const directory = inodes[next];
    if (directory?.source.kind !== "directory") continue;
    for (const target of directory.targets) {
      if (target.index >= 0 || target.home !== directory) continue;
      target.index = inodes.length;
      inodes.push(target);
    }
  }
  return inodes;
}
