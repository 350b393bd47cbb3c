import { OneholdError } from "#base/errors.ts";
import { parseText, text, tuple, tupleMembers } from "./gvariant.ts";
import { type CommitMetadataEntry, parseMetadata, serializeMetadata } from "./ostree-metadata.ts";
import { type Checksum, demandObjectSize, readChecksum, writeChecksum } from "./ostree-objects.ts";

export interface Commit {
  readonly metadata: readonly CommitMetadataEntry[];
  readonly parent?: Checksum;
  readonly subject: string;
  readonly body: string;
  /** Seconds since 1970. */
  readonly timestamp: number;
  readonly tree: Checksum;
  readonly treeMetadata: Checksum;
}

export function serializeCommit(commit: Commit): Buffer {
  const timestamp = Buffer.alloc(8);
  timestamp.writeBigUInt64BE(BigInt(commit.timestamp));
  return tuple([
    { bytes: serializeMetadata(commit.metadata), align: 8, fixed: false },
    { bytes: commit.parent === undefined ? none : checksumBytes(commit.parent), align: 1, fixed: false },
    { bytes: none, align: 1, fixed: false },
    { bytes: text(commit.subject), align: 1, fixed: false },
    { bytes: text(commit.body), align: 1, fixed: false },
    { bytes: timestamp, align: 8, fixed: true },
    { bytes: checksumBytes(commit.tree), align: 1, fixed: false },
    { bytes: checksumBytes(commit.treeMetadata), align: 1, fixed: false },
  ]);
}

/** @throws OneholdError "corrupt"; "unsupported" for a commit with related commits, which libostree never writes */
export function parseCommit(bytes: Buffer): Commit {
  const what = "an ostree commit";
  demandObjectSize(bytes, what);
  const members = tupleMembers(bytes, commitType, what);
  const [metadata = none, parent = none, related = none, subject = none, body = none] = members;
  const [time = none, tree = none, treeMetadata = none] = members.slice(5);
  if (related.length > 0) throw new OneholdError("unsupported", `${what} names related commits`);
  const timestamp = Number(time.readBigUInt64BE());
  if (!Number.isSafeInteger(timestamp)) throw new OneholdError("corrupt", `${what} has the timestamp ${timestamp}`);
  return {
    metadata: parseMetadata(metadata, `the metadata of ${what}`),
    ...(parent.length === 0 ? {} : { parent: readChecksum(parent, what) }),
    subject: parseText(subject, `the subject of ${what}`),
    body: parseText(body, `the body of ${what}`),
    timestamp,
    tree: readChecksum(tree, what),
    treeMetadata: readChecksum(treeMetadata, what),
  };
}

const commitType = [
  { align: 8 }, // metadata
  { align: 1 }, // parent
  { align: 1 }, // related commits: nobody writes any
  { align: 1 }, // subject
  { align: 1 }, // body
  { align: 8, size: 8 }, // timestamp
  { align: 1 }, // dirtree
  { align: 1 }, // dirmeta
] as const;

const none = Buffer.alloc(0);

function checksumBytes(checksum: Checksum): Buffer {
  const bytes = Buffer.alloc(32);
  writeChecksum(bytes, checksum, 0);
  return bytes;
}
