import type { Digest } from "#base/digest.ts";
import type { StorageMode } from "./storage-mode.ts";

/**
 * bootc's description of a host, `org.containers.bootc/v1`: its keys, its rules for what is null and what is left
 * out. Its schema permits other keys; ours are below `onehold`.
 */
export interface HostDocument {
  readonly apiVersion: "org.containers.bootc/v1";
  readonly kind: "BootcHost";
  readonly metadata: { readonly name: "host" };
  readonly spec: {
    readonly image: ImageReferenceDocument | null;
    readonly bootOrder: "default" | "rollback";
  };
  readonly status: {
    readonly staged: BootEntryDocument | null;
    readonly booted: BootEntryDocument | null;
    readonly rollback: BootEntryDocument | null;
    /** Left out where there is none. Of a sysroot that is not the running host's: all. */
    readonly otherDeployments?: readonly BootEntryDocument[];
    readonly rollbackQueued: boolean;
    readonly type: "bootcHost" | null;
    readonly usrOverlay: UsrOverlay | null;
    /** The sysroot's file system can't be written to. */
    readonly readOnly: boolean;
    readonly onehold: {
      readonly storage: StorageState;
      /** What could not be read, in words for people. */
      readonly problems: readonly { readonly message: string; readonly subject: string | null }[];
    };
  };
}

export interface ImageReferenceDocument {
  readonly image: string;
  readonly transport: string;
  /** Left out where nothing is demanded. */
  readonly signature?: { readonly ostreeRemote: string } | "containerPolicy";
}

export interface ImageStatusDocument {
  readonly image: ImageReferenceDocument;
  readonly version: string | null;
  /** RFC 3339. */
  readonly timestamp: string | null;
  readonly imageDigest: Digest;
  readonly architecture: string;
}

export interface UsrOverlay {
  readonly accessMode: "readOnly" | "readWrite";
  readonly persistence: "transient" | "persistent";
}

export interface BootEntryDocument {
  readonly image: ImageStatusDocument | null;
  readonly cachedUpdate: ImageStatusDocument | null;
  readonly incompatible: boolean;
  readonly pinned: boolean;
  /** Onehold does not tell: always false. */
  readonly softRebootCapable: boolean;
  readonly downloadOnly: boolean;
  readonly store: "ostreeContainer" | null;
  readonly ostree: { readonly stateroot: string; readonly checksum: string; readonly deploySerial: number };
  readonly composefs: null;
  readonly onehold: {
    /** Where it stands in the boot order: 0 boots next. `ostree admin` numbers deployments so. */
    readonly index: number;
    readonly storage: StorageState | null;
    /** null: they could not be read. */
    readonly boundImages: readonly BoundImageDocument[] | null;
    readonly kernelArguments: readonly string[];
    /** Left out unless asked for; null: its image is not known. */
    readonly bytes?: EntryBytes | null;
  };
}

/** Whether a mode is as it is set, and where not, why. */
export interface StorageState {
  readonly mode: StorageMode;
  readonly inEffect: boolean;
  readonly reason: string | null;
}

export interface BoundImageDocument {
  /** As the unit names it. */
  readonly image: string;
  /** The file name of the unit. */
  readonly unit: string;
  /** null: it is not known, since the image store does not have it. */
  readonly digest: Digest | null;
  /** Whether the image store has it. */
  readonly present: boolean;
}

/** Of its image, on disk, as `usage` counts. */
export interface EntryBytes {
  readonly bytes: number;
  /** Held by two stores, on the same blocks. */
  readonly shared: number;
  /** In no other image. */
  readonly exclusive: number;
  /** Held twice. */
  readonly copied: number;
}
