import { type Command, Option } from "commander";
import { boundImageSources, type InstallToFilesystemOptions, pullSources } from "./options.ts";
import { choice, declareCommand, declareVerb, flag, tlsVerifyOption } from "./verb-declaration.ts";
import type { Verbs } from "./verbs.ts";

/** Verbs that make a host where there is none. */
export function declareInstallVerbs(program: Command, verbs: Verbs, finish: (status: number) => void): void {
  const group = "Host:";
  const install = declareCommand(program, "install", "make a host of an image")
    .description("Make a host of an image.")
    .helpGroup(group);
  declareVerb<InstallToFilesystemOptions>(
    install,
    {
      name: "to-filesystem",
      group,
      summary: "make a mounted, empty file system one that boots an image",
      details:
        "The image is pulled once and shared with ostree, which deploys it; bound images come before the deployment. " +
        "A boot entry is written, and no boot loader is touched: see docs/how-to.md. An install that was killed is " +
        "finished by the next one.",
      example: "onehold install to-filesystem /mnt --source-imgref registry.example/os:1 --karg console=ttyS0",
      positionals: [
        {
          key: "root",
          name: "ROOT",
          help: "where the file system is mounted; --sysroot is of no use here",
        },
      ],
      options: [
        new Option("--source-imgref <REF>", "the image to install").makeOptionMandatory(),
        new Option("--target-imgref <REF>", "the image that upgrades follow (default: the same)"),
        new Option("--stateroot <NAME>", "the host's name in ostree, with a /var of its own").default("default"),
        new Option("--karg <ARG>", "a kernel argument; may be given more than once").argParser(
          (value: string, before: readonly string[] | undefined) => [...(before ?? []), value],
        ),
        choice(
          "--bound-images <FROM>",
          "pull bound images from their registries, take them from root's own podman store, or leave them out",
          boundImageSources,
          "pull",
        ),
        flag("--allow-copy", "copy what can't be shared, instead of refusing"),
        choice("--source <SOURCE>", "the program that pulls; auto: podman, or skopeo without it", pullSources, "auto"),
        tlsVerifyOption(),
      ],
      kind: "writes",
      load: verbs.installToFilesystem,
    },
    finish,
  );
}
