import { type Command, Option } from "commander";
import {
  pullSources,
  type RollbackOptions,
  type SwitchOptions,
  switchTransports,
  type UpgradeOptions,
} from "./options.ts";
import { choice, declareVerb, flag, referencePositional, tlsVerifyOption } from "./verb-declaration.ts";
import type { Verbs } from "./verbs.ts";

/** Verbs that change what a host boots next. */
export function declareUpdateVerbs(program: Command, verbs: Verbs, finish: (status: number) => void): void {
  const group = "Host:";
  const resting = "The host must not be the one that runs: name its disk with --sysroot.";
  declareVerb<UpgradeOptions>(
    program,
    {
      name: "upgrade",
      group,
      summary: "bring the host the newest version of the image that it follows",
      details: `Its bound images come before it; /etc keeps the host's own changes. ${resting}`,
      example: "onehold --sysroot /mnt upgrade --check",
      options: [
        flag("--check", "only ask whether there is one; 'status' shows it from then on").conflicts("source"),
        ...pullOptions(),
      ],
      kind: "writes",
      load: verbs.upgrade,
    },
    finish,
  );
  declareVerb<SwitchOptions>(
    program,
    {
      name: "switch",
      group,
      summary: "have the host follow another image",
      details: `It is deployed at once, as an upgrade is. ${resting}`,
      example: "onehold --sysroot /mnt switch registry.example/os:2",
      positionals: [referencePositional],
      options: [
        new Option("--transport <TRANSPORT>", "of REF, where that does not begin with it").choices(switchTransports),
        flag("--retain", "pin the image that the host has now"),
        ...pullOptions(),
      ],
      kind: "writes",
      load: verbs.switch,
    },
    finish,
  );
  declareVerb<RollbackOptions>(
    program,
    {
      name: "rollback",
      group,
      summary: "have the host boot the version before",
      details: `A second time takes it back. ${resting} Needs an ostree that has \`admin set-default\`.`,
      example: "onehold --sysroot /mnt rollback",
      kind: "writes",
      load: verbs.rollback,
    },
    finish,
  );
}

function pullOptions(): Option[] {
  return [
    flag("--allow-copy", "copy what can't be shared, instead of refusing"),
    choice("--source <SOURCE>", "the program that pulls; auto: podman, or skopeo without it", pullSources, "auto"),
    tlsVerifyOption(),
  ];
}
