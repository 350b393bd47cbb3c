/** What the guest of the fs-verity test finds on its last disk: made by the test, written there as JSON. */
export interface GuestPlan {
  /** Names of files in `vectors/`: "sha256-4096". */
  readonly vectors: readonly string[];
  /** Below `repository/objects`. */
  readonly objects: {
    /** To be given other content. */
    readonly replaced: string;
    readonly missing: string;
    /** Not to be given fs-verity. */
    readonly unprotected: readonly string[];
  };
  /** Digests. */
  readonly images: Readonly<Record<"good" | "flipped" | "misnamed" | "unprotected" | "lonely", string>>;
  /** Files of the good image. */
  readonly goodFiles: readonly string[];
  /** Where on the disk to change a byte. */
  readonly flips: readonly number[];
  /** A byte of the file "flipped" that is in the block of the flipped byte. */
  readonly flippedAt: number;
}

export interface Refusal {
  readonly code: string;
  readonly message: string;
}

export interface GuestReport {
  /** What the kernel measures, in hex. */
  readonly vectors: Readonly<Record<string, string>>;
  /** Objects whose name is not what the kernel measures, with that. */
  readonly otherwise: Readonly<Record<string, string>>;
  readonly mounted: { readonly verity: boolean; readonly backing: string; readonly digest: string | undefined };
  /** Of the table of mounts. */
  readonly options: readonly string[];
  /** SHA-256 of the content. */
  readonly good: Readonly<Record<string, string>>;
  /** How reading ends: "ok", or the error. */
  readonly reads: Readonly<Record<"replaced" | "missing" | "unprotected", string>>;
  readonly mountsLeft: readonly string[];
  readonly afterFlip: Readonly<Record<"firstBlock" | "flippedBlock" | "wholeGoodFile", string>>;
  readonly refusals: Readonly<Record<"flipped" | "misnamed" | "unprotected" | "lonely" | "otherDigest", Refusal>>;
  /** A repository of ours, made in the guest, with SHA-512; what its images' file shows, by format. */
  readonly own: {
    readonly secure: boolean;
    readonly files: Readonly<Record<string, string>>;
    /** Of its objects. */
    readonly problems: readonly string[];
    /** Why it can't be mounted any more, its object being an equal file without fs-verity. */
    readonly bare: string;
    readonly problemOfBare: string | undefined;
  };
  /** What the built program printed, as JSON. */
  readonly program: unknown;
}
