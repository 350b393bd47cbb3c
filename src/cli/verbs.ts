import type { VerbContext } from "./context.ts";
import type {
  ComposefsDumpOptions,
  ComposefsFsckOptions,
  ComposefsInfoOptions,
  ComposefsMkfsOptions,
  ComputeDigestOptions,
  GcOptions,
  ImageListOptions,
  ImagePullOptions,
  ImageReferenceOptions,
  InitOptions,
  InstallToFilesystemOptions,
  InternalsMountOptions,
  InternalsUmountOptions,
  RollbackOptions,
  StatusOptions,
  SwitchOptions,
  UpgradeOptions,
  UsageOptions,
} from "./options.ts";

/** Loads a verb's implementation; `run` gives the exit status. */
export type LoadVerb<Options> = () => Promise<{
  readonly run: (options: Options, context: VerbContext) => Promise<number>;
}>;

export interface Verbs {
  readonly init: LoadVerb<InitOptions>;
  readonly status: LoadVerb<StatusOptions>;
  readonly installToFilesystem: LoadVerb<InstallToFilesystemOptions>;
  readonly upgrade: LoadVerb<UpgradeOptions>;
  readonly switch: LoadVerb<SwitchOptions>;
  readonly rollback: LoadVerb<RollbackOptions>;
  readonly imagePull: LoadVerb<ImagePullOptions>;
  readonly imageList: LoadVerb<ImageListOptions>;
  readonly imagePin: LoadVerb<ImageReferenceOptions>;
  readonly imageUnpin: LoadVerb<ImageReferenceOptions>;
  readonly imageRemove: LoadVerb<ImageReferenceOptions>;
  readonly usage: LoadVerb<UsageOptions>;
  readonly gc: LoadVerb<GcOptions>;
  readonly internalsMount: LoadVerb<InternalsMountOptions>;
  readonly internalsUmount: LoadVerb<InternalsUmountOptions>;
  readonly composefsDump: LoadVerb<ComposefsDumpOptions>;
  readonly composefsInfo: LoadVerb<ComposefsInfoOptions>;
  readonly composefsFsck: LoadVerb<ComposefsFsckOptions>;
  readonly composefsMkfs: LoadVerb<ComposefsMkfsOptions>;
  readonly computeDigest: LoadVerb<ComputeDigestOptions>;
}

/** The verbs, none of them loaded yet. */
export const lazyVerbs: Verbs = {
  init: () => import("./verbs/init.ts"),
  status: () => import("./verbs/status.ts"),
  installToFilesystem: () => import("./verbs/install-to-filesystem.ts"),
  upgrade: () => import("./verbs/upgrade.ts"),
  switch: () => import("./verbs/switch.ts"),
  rollback: () => import("./verbs/rollback.ts"),
  imagePull: () => import("./verbs/image-pull.ts"),
  imageList: () => import("./verbs/image-list.ts"),
  imagePin: () => import("./verbs/image-pin.ts"),
  imageUnpin: () => import("./verbs/image-unpin.ts"),
  imageRemove: () => import("./verbs/image-remove.ts"),
  usage: () => import("./verbs/usage.ts"),
  gc: () => import("./verbs/gc.ts"),
  internalsMount: () => import("./verbs/internals-mount.ts"),
  internalsUmount: () => import("./verbs/internals-umount.ts"),
  composefsDump: () => import("./verbs/internals-composefs-dump.ts"),
  composefsInfo: () => import("./verbs/internals-composefs-info.ts"),
  composefsFsck: () => import("./verbs/internals-composefs-fsck.ts"),
  composefsMkfs: () => import("./verbs/internals-composefs-mkfs.ts"),
  computeDigest: () => import("./verbs/container-compute-composefs-digest.ts"),
};
