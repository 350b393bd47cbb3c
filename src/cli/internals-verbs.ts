import { type Command, InvalidArgumentError, Option } from "commander";
import type { InternalsMountOptions, InternalsUmountOptions } from "./options.ts";
import { declareCommand, declareVerb } from "./verb-declaration.ts";
import type { Verbs } from "./verbs.ts";

const group = "Internals:";

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
      positionals: [
        {
          key: "image",
          name: "IMAGE",
          help: "its digest in hex, a ref below images/refs, or a file: a path that begins with / or ./",
        },
        { key: "directory", name: "DIR", help: "where to mount it" },
      ],
      options: [
        new Option("--repo <DIR>", "the composefs repository, if it is not SYSROOT/composefs"),
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
}

function verityDigest(text: string): string {
  if (/^(?:[0-9a-f]{64}|[0-9a-f]{128})$/.test(text)) return text;
  throw new InvalidArgumentError("It is 64 or 128 hex digits, in lower case.");
}
