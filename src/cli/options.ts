/**
 * What the command line hands to each verb: checked by program.ts, where the options are declared.
 * Free of imports that load anything, since `--help` reads this too.
 */

/** What `--format` takes: bootc's values. `table` is another name of `humanreadable`. */
export const outputFormats = ["humanreadable", "table", "json", "yaml"] as const;
export type OutputFormat = (typeof outputFormats)[number];

export const backends = ["ostree", "composefs", "both"] as const;
export const composefsDigests = ["sha512", "sha256"] as const;
/** Of EROFS images; also their numbers in meta.json. */
export const composefsFormats = ["0", "1", "2"] as const;
/** As bootc names them. */
export const erofsVersions = ["v0", "v1", "v2"] as const;
/** Whose form or rules, where the tools of composefs differ: composefs-rs's, or those of mkcomposefs and composefs-info. */
export const compats = ["rust", "c"] as const;
export const pullSources = ["auto", "podman", "skopeo"] as const;
/** As bootc names them. */
export const switchTransports = ["registry", "oci", "oci-archive", "dir", "containers-storage"] as const;
/** Of `status`: bootc's, which are the same. */
export const formatVersions = ["0", "1"] as const;
export const boundImageSources = ["pull", "stored", "skip"] as const;
export const listTypes = ["all", "host", "logical"] as const;

/** Of every verb. */
export interface CommonOptions {
  readonly sysroot: string;
  readonly progressFd?: number;
  readonly quiet: boolean;
  readonly format: OutputFormat;
  readonly json: boolean;
}

export interface InitOptions {
  /** undefined: as the sysroot has it. */
  readonly backend?: (typeof backends)[number];
  readonly composefsDigest?: (typeof composefsDigests)[number];
  readonly composefsFormat?: (typeof composefsFormats)[number];
  readonly insecure: boolean;
}

/** Of `install to-filesystem`. */
export interface InstallToFilesystemOptions {
  /** As the user wrote them. */
  readonly root: string;
  readonly sourceImgref: string;
  readonly targetImgref?: string;
  readonly stateroot: string;
  readonly karg?: readonly string[];
  readonly boundImages: (typeof boundImageSources)[number];
  readonly allowCopy: boolean;
  readonly source: (typeof pullSources)[number];
  /** undefined: as registries.conf says. */
  readonly tlsVerify?: boolean;
}

/** Of verbs that bring a host another version. */
interface UpdateOptions {
  readonly allowCopy: boolean;
  readonly source: (typeof pullSources)[number];
  /** undefined: as registries.conf says. */
  readonly tlsVerify?: boolean;
}

export interface UpgradeOptions extends UpdateOptions {
  readonly check: boolean;
}

export interface SwitchOptions extends UpdateOptions {
  /** As the user wrote it. */
  readonly reference: string;
  /** undefined: the reference has it, or is a registry's. */
  readonly transport?: (typeof switchTransports)[number];
  readonly retain: boolean;
}

/** Of `rollback`, which has none of its own. */
export type RollbackOptions = object;

export interface ImagePullOptions {
  /** As the user wrote it. */
  readonly reference: string;
  readonly pin: boolean;
  readonly host: boolean;
  readonly source: (typeof pullSources)[number];
  readonly allowCopy: boolean;
  readonly allowVerity: boolean;
  /** undefined: as registries.conf says. */
  readonly tlsVerify?: boolean;
}

export interface ImageListOptions {
  readonly type: (typeof listTypes)[number];
}

/** Of `image pin`, `image unpin` and `image remove`. */
export interface ImageReferenceOptions {
  /** As the user wrote it. */
  readonly reference: string;
}

export interface StatusOptions {
  readonly booted: boolean;
  readonly verbose: boolean;
  readonly usage: boolean;
}

/** Of `usage`, which has none of its own. */
export type UsageOptions = object;

export interface GcOptions {
  readonly dryRun: boolean;
}

export interface InternalsMountOptions {
  /** As the user wrote them. */
  readonly image: string;
  readonly directory: string;
  readonly repo?: string;
  readonly bootable: boolean;
  /** 64 or 128 hex digits. */
  readonly digest?: string;
}

export interface InternalsUmountOptions {
  readonly directory: string;
}

export interface ComposefsDumpOptions {
  /** As the user wrote it. */
  readonly image: string;
  readonly repo?: string;
  readonly bootable: boolean;
  readonly compat: (typeof compats)[number];
}

export interface ComposefsInfoOptions {
  /** As the user wrote it. */
  readonly image: string;
  readonly repo?: string;
  readonly bootable: boolean;
  readonly objects: boolean;
  readonly missingObjects: boolean;
}

export interface ComposefsFsckOptions {
  readonly repo?: string;
}

export interface ComposefsMkfsOptions {
  /** As the user wrote them. */
  readonly source: string;
  readonly image: string;
  readonly fromFile: boolean;
  /** undefined: see `--help`. */
  readonly erofsVersion?: (typeof composefsFormats)[number];
  readonly compat: (typeof compats)[number];
  /** undefined: see `--help`. */
  readonly digest?: (typeof composefsDigests)[number];
  readonly digestStore?: string;
  readonly printDigest: boolean;
}

/** Of `container compute-composefs-digest`. */
export interface ComputeDigestOptions {
  /** As the user wrote it. */
  readonly path: string;
  readonly writeDumpfileTo?: string;
  readonly erofsVersion: (typeof erofsVersions)[number];
  readonly digest: (typeof composefsDigests)[number];
  /** False with --no-propagate-usr-to-root. */
  readonly propagateUsrToRoot: boolean;
}
