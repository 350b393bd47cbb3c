import { type Command, Option } from "commander";
import { type ComputeDigestOptions, composefsDigests, erofsVersions } from "./options.ts";
import { choice, declareCommand, declareVerb } from "./verb-declaration.ts";
import type { Verbs } from "./verbs.ts";

/** Verbs for whoever builds images, with the names and options that bootc has for them. */
export function declareContainerVerbs(program: Command, verbs: Verbs, finish: (status: number) => void): void {
  const group = "Containers:";
  const container = declareCommand(program, "container", "help to build images of hosts")
    .description("Help to build images of hosts.")
    .helpGroup(group);
  declareVerb<ComputeDigestOptions>(
    container,
    {
      name: "compute-composefs-digest",
      group,
      summary: "print the digest of the composefs image that boots, for the root file system of an image",
      details:
        "That of the composefs image which a repository has of the container image, if the directory is what its layers " +
        "say, the times of directories included. It is what a kernel's command line names.",
      example: "onehold container compute-composefs-digest /target",
      positionals: [
        { key: "path", name: "ROOTFS", help: "the root file system (default: /target)", otherwise: "/target" },
      ],
      options: [
        new Option("--write-dumpfile-to <FILE>", "also write the image's tree as a dump file"),
        choice("--erofs-version <VERSION>", "the format of the image", erofsVersions, "v1"),
        choice("--digest <NAME>", "what the repository names objects by", composefsDigests, "sha512"),
        new Option(
          "--no-propagate-usr-to-root",
          "the root directory has an owner, mode and time of its own: leave it, /run and xattrs as they are",
        ),
      ],
      kind: "reads",
      load: verbs.computeDigest,
    },
    finish,
  );
}
