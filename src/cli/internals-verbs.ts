import { type Command, InvalidArgumentError, Option } from "commander";
import {
  type ComposefsDumpOptions,
  type ComposefsFsckOptions,
  type ComposefsInfoOptions,
  type ComposefsMkfsOptions,
  compats,
  composefsDigests,
  composefsFormats,
  type InternalsMountOptions,
  type InternalsUmountOptions,
} from "./options.ts";
import { choice, declareCommand, declareVerb, flag, type Positional } from "./verb-declaration.ts";
import type { Verbs } from "./verbs.ts";

const group = "Internals:";

const imagePositional: Positional = {
  key: "image",
  name: "IMAGE",
  help:
    "its digest in hex, a ref below images/refs, the name of a container image in the repository, " +
    "or a file: a path that begins with / or ./",
};

const repoOption = (): Option => new Option("--repo <DIR>", "the composefs repository, if it is not SYSROOT/composefs");
const bootableOption = (): Option =>
  flag("--bootable", "of a container image, take the composefs image that boots, not that of its tree as it is");

/** Verbs that show, or use, a single piece of Onehold: for tests and for looking after things. */
export function declareInternalsVerbs(program: Command, verbs: Verbs, finish: (status: number) => void): void {
  const internals = declareCommand(program, "internals", "use single pieces of Onehold")
    .description("Use single pieces of Onehold.")
    .helpGroup(group);

  declareVerb<InternalsMountOptions>(
    internals,
    {
      name: "mount",
      group,
      summary: "mount a composefs image with its objects, read-only",
      details:
        "An image of the repository must be what its digest says. Where the repository is secure, the kernel demands " +
        "fs-verity of every object.",
      example: "onehold internals mount oci/os /mnt",
      positionals: [imagePositional, { key: "directory", name: "DIR", help: "where to mount it" }],
      options: [
        repoOption(),
        bootableOption(),
        new Option("--digest <HEX>", "refuse an image that has not this fs-verity digest").argParser(verityDigest),
      ],
      kind: "writes",
      load: verbs.internalsMount,
    },
    finish,
  );
  declareVerb<InternalsUmountOptions>(
    internals,
    {
      name: "umount",
      group,
      summary: "unmount a composefs image",
      example: "onehold internals umount /mnt",
      positionals: [{ key: "directory", name: "DIR", help: "where it is mounted" }],
      kind: "writes",
      load: verbs.internalsUmount,
    },
    finish,
  );
  declareComposefsVerbs(internals, verbs, finish);
}

function declareComposefsVerbs(internals: Command, verbs: Verbs, finish: (status: number) => void): void {
  const composefs = declareCommand(internals, "composefs", "look into composefs images and repositories, make images")
    .description("Look into composefs images and repositories, make images.")
    .helpGroup(group);
  const compatOption = (description: string): Option => choice("--compat <TOOLS>", description, compats, "rust");

  declareVerb<ComposefsDumpOptions>(
    composefs,
    {
      name: "dump",
      group,
      summary: "print what a composefs image holds, as a dump file",
      details: "It is printed byte by byte; 'mkfs --from-file' makes the image of it again.",
      example: "onehold internals composefs dump registry.example/os:1 --bootable",
      positionals: [imagePositional],
      options: [repoOption(), bootableOption(), compatOption("whose form: composefs-rs's or that of composefs-info")],
      result: "bytes",
      kind: "reads",
      load: verbs.composefsDump,
    },
    finish,
  );
  declareVerb<ComposefsInfoOptions>(
    composefs,
    {
      name: "info",
      group,
      summary: "show what a composefs image is: format, digest, inodes, objects",
      example: "onehold internals composefs info registry.example/os:1 --missing-objects",
      positionals: [imagePositional],
      options: [
        repoOption(),
        bootableOption(),
        flag("--objects", "list its objects instead, a path below the folder of objects each"),
        flag("--missing-objects", "list its objects that are not there").conflicts("objects"),
      ],
      kind: "reads",
      load: verbs.composefsInfo,
    },
    finish,
  );
  declareVerb<ComposefsFsckOptions>(
    composefs,
    {
      name: "fsck",
      group,
      summary: "check all of a composefs repository",
      details:
        "Every object, stream and image is read and compared with its name; whatever they refer to must be there. The " +
        "exit status is 1 where something is wrong. Files of host images that libselinux and composefs-rs would label " +
        "differently are told too, but that is not wrong.",
      example: "onehold internals composefs fsck --repo /mnt/composefs",
      options: [repoOption()],
      kind: "reads",
      load: verbs.composefsFsck,
    },
    finish,
  );
  declareVerb<ComposefsMkfsOptions>(
    composefs,
    {
      name: "mkfs",
      group,
      summary: "make a composefs image of a directory or a dump file",
      details: "Files of more than 64 bytes are objects beside the image, named by their fs-verity digests.",
      example: "onehold internals composefs mkfs ./tree image.cfs --digest-store objects --print-digest",
      positionals: [
        { key: "source", name: "SOURCE", help: "the directory; with --from-file the dump file, - for stdin" },
        { key: "image", name: "IMAGE", help: "the file to make, or to replace" },
      ],
      options: [
        flag("--from-file", "SOURCE is a dump file"),
        choice(
          "--erofs-version <N>",
          "the format (default: 1; with --compat c as mkcomposefs, 0, or 1 where there are whiteouts)",
          composefsFormats,
        ),
        compatOption(
          "whose image, byte by byte: composefs-rs's or mkcomposefs's, which knows no hardlinks of a directory",
        ),
        choice(
          "--digest <NAME>",
          "of objects and the image (default: sha512; with --compat c sha256)",
          composefsDigests,
        ),
        new Option("--digest-store <DIR>", "put the objects there, shared where the file system can").conflicts(
          "fromFile",
        ),
        flag("--print-digest", "print the image's fs-verity digest, and nothing else").conflicts(["json", "format"]),
      ],
      kind: "writes",
      load: verbs.composefsMkfs,
    },
    finish,
  );
}

function verityDigest(text: string): string {
  if (/^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(text)) return text;
  throw new InvalidArgumentError("It is 64 or 128 hex digits, in lower case.");
}
