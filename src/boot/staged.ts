import { OneholdError } from "#base/errors.ts";
import { arrayElements, parseText } from "#formats/gvariant.ts";
import { type CommitMetadataEntry, parseMetadata } from "#formats/ostree-metadata.ts";
import { type DeploymentName, isStateroot, parseDeploymentName } from "./deployment-name.ts";

/** A deployment that becomes one when the host shuts down. */
export interface StagedDeployment extends DeploymentName {
  readonly kernelArguments: readonly string[];
  /** Not to be finished at shutdown unless somebody unlocks it. */
  readonly locked: boolean;
}

/** libostree's `/run/ostree/staged-deployment`, a GVariant `a{sv}`. @throws OneholdError "corrupt" */
export function parseStaged(bytes: Buffer, file: string): StagedDeployment {
  const entries = parseMetadata(bytes, file);
  const target = parseMetadata(valueOf(entries, "target", "a{sv}") ?? Buffer.alloc(0), `the target in ${file}`);
  const name = parseDeploymentName(textOf(target, "name") ?? "");
  const stateroot = textOf(target, "osname") ?? "";
  if (name === undefined || !isStateroot(stateroot)) {
    throw new OneholdError("corrupt", `${file} does not name the deployment that is staged`, { subject: file });
  }
  const kernelArguments = valueOf(entries, "kargs", "as") ?? Buffer.alloc(0);
  return {
    ...name,
    stateroot,
    kernelArguments: arrayElements(kernelArguments, 1, `the kernel arguments in ${file}`).map((element) =>
      parseText(element, `a kernel argument in ${file}`),
    ),
    locked: entries.some((entry) => entry.key === "locked" && entry.type === "b" && entry.value),
  };
}

function textOf(entries: readonly CommitMetadataEntry[], key: string): string | undefined {
  const found = entries.find((entry) => entry.key === key);
  return found?.type === "s" ? found.value : undefined;
}

function valueOf(entries: readonly CommitMetadataEntry[], key: string, signature: string): Buffer | undefined {
  const found = entries.find((entry) => entry.key === key);
  return found?.type === "other" && found.signature === signature ? found.value : undefined;
}
