import type { Command } from "commander";
import { formatVersions, type StatusOptions } from "./options.ts";
import { choice, declareVerb, flag } from "./verb-declaration.ts";
import type { Verbs } from "./verbs.ts";

/** The verbs of a host's life. */
export function declareHostVerbs(program: Command, verbs: Verbs, finish: (status: number) => void): void {
  declareVerb<StatusOptions>(
    program,
    {
      name: "status",
      group: "Host:",
      summary: "show what the host runs, ran and will run",
      details:
        "The staged, booted and other deployments with their images, bound images and storage mode. JSON and YAML are " +
        "bootc's org.containers.bootc/v1, with more below the keys 'onehold'.",
      example: "onehold status --json",
      options: [
        choice("--format-version <N>", "of JSON and YAML; both versions are the same", formatVersions, "1"),
        flag("--booted", "only the deployment that the host was booted from"),
        flag("-v, --verbose", "more of each deployment: commit, stateroot, kernel arguments"),
        flag("--usage", "the bytes that each deployment's image takes on the disk, as 'onehold usage' measures them"),
      ],
      kind: "reads",
      load: verbs.status,
    },
    finish,
  );
}
