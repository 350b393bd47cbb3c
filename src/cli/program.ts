import { Command, CommanderError, InvalidArgumentError, Option } from "commander";
import { declareContainerVerbs } from "./container-verbs.ts";
import { declareHostVerbs } from "./host-verbs.ts";
import { helpStyle, pathOf, verbsBelow } from "./help.ts";
import { declareInstallVerbs } from "./install-verbs.ts";
import { declareInternalsVerbs } from "./internals-verbs.ts";
import {
  backends,
  composefsDigests,
  composefsFormats,
  type GcOptions,
  type ImageListOptions,
  type ImagePullOptions,
  type ImageReferenceOptions,
  type InitOptions,
  listTypes,
  pullSources,
  type UsageOptions,
} from "./options.ts";
import { paint } from "./paint.ts";
import {
  choice,
  declareCommand,
  declareVerb,
  flag,
  helpPointer,
  referencePositional,
  tlsVerifyOption,
} from "./verb-declaration.ts";
import { declareUpdateVerbs } from "./update-verbs.ts";
import { lazyVerbs, type Verbs } from "./verbs.ts";
import { version } from "./version.ts";

/**
 * Runs the command line `argv` (without node's own arguments) and gives its exit status: 0 done, 1 failed,
 * 2 wrong usage. Loads nothing but commander for `--help`; a verb is loaded when it runs.
 */
export async function runProgram(argv: readonly string[], verbs: Verbs = lazyVerbs): Promise<number> {
  let outputError: NodeJS.ErrnoException | undefined;
  process.stdout.on("error", (error) => {
    outputError ??= error;
  });
  let status = await parse(argv, verbs);
  await new Promise<void>((resolve) => process.stdout.write("", () => resolve()));
  // `| head` has read enough: that is no failure.
  if (outputError !== undefined && outputError.code !== "EPIPE") {
    process.stderr.write(`${paint("red", "error:")} can't write the output: ${outputError.message}\n`);
    status ||= 1;
  }
  return status;
}

async function parse(argv: readonly string[], verbs: Verbs): Promise<number> {
  let status = 0;
  const program = declareProgram(verbs, (result) => {
    status = result;
  });
  try {
    await program.parseAsync(withExplicitValues(argv), { from: "user" });
    return status;
  } catch (error) {
    if (error instanceof CommanderError) return error.exitCode === 0 ? 0 : 2;
    throw error;
  }
}

type Finish = (status: number) => void;

function declareProgram(verbs: Verbs, finish: Finish): Command {
  const program = new Command("onehold")
    .description(
      "One image storage for a Linux host. The operating system that the host boots and the containers that it " +
        "runs both come as container images; each is pulled once, and every store that needs its files shares " +
        "the same disk blocks.",
    )
    .version(version, "-V, --version", "show the version")
    .helpOption("-h, --help", "show this help")
    .helpCommand(false)
    .option("--sysroot <DIR>", "the physical root of the host's disk", "/sysroot")
    .addOption(
      new Option("--progress-fd <N>", "write progress as JSON Lines to descriptor N, 3 or more").argParser(descriptor),
    )
    .option("--quiet", "print nothing but errors, and results that were asked for", false)
    .configureHelp(helpStyle)
    .addHelpText("after", "\n'onehold VERB --help' tells more about a verb, with an example.")
    .exitOverride();
  program
    .configureOutput({ outputError: (text, write) => write(usageError(text, program)) })
    .showHelpAfterError(helpPointer(program));

  declareVerb<InitOptions>(
    program,
    {
      name: "init",
      group: "Sysroot:",
      summary: "make an empty sysroot's stores",
      details: "'image pull' does it by itself where there are none.",
      example: "onehold --sysroot /mnt init",
      options: [
        choice("--backend <BACKEND>", "where host images go (default: as it is; ostree in an empty sysroot)", backends),
        choice(
          "--composefs-digest <NAME>",
          "what a new composefs repository names files by (default: sha512)",
          composefsDigests,
        ),
        choice("--composefs-format <N>", "the version of its images (default: 1)", composefsFormats),
        flag("--insecure", "a composefs repository without fs-verity, even where the file system has it"),
      ],
      kind: "writes",
      load: verbs.init,
    },
    finish,
  );
  declareHostVerbs(program, verbs, finish);
  declareInstallVerbs(program, verbs, finish);
  declareUpdateVerbs(program, verbs, finish);
  declareImageVerbs(program, verbs, finish);
  declareVerb<UsageOptions>(
    program,
    {
      name: "usage",
      group: "Sysroot:",
      summary: "show who uses which bytes: shared, exclusive, copied",
      details: "For each store and each image. Sharing is told from the extents on the disk.",
      example: "onehold usage --json",
      kind: "reads",
      load: verbs.usage,
    },
    finish,
  );
  declareVerb<GcOptions>(
    program,
    {
      name: "gc",
      group: "Sysroot:",
      summary: "remove from every store what nothing keeps",
      details:
        "Images without a name that no deployment, pin, container or ref of another program needs, and what they alone " +
        "have; bound images that were brought for a deployment that is gone. 'image list' tells why an image stays.",
      example: "onehold gc --dry-run",
      options: [flag("--dry-run", "only say what would go, and what would come back; waits for nobody")],
      kind: "writes",
      load: verbs.gc,
    },
    finish,
  );
  declareContainerVerbs(program, verbs, finish);
  declareInternalsVerbs(program, verbs, finish);
  return program;
}

function declareImageVerbs(program: Command, verbs: Verbs, finish: Finish): void {
  const image = declareCommand(program, "image", "bring images into the stores, list, pin and remove them")
    .description("Bring images into the stores, list, pin and remove them.")
    .helpGroup("Images:");
  const group = "Images:";

  declareVerb<ImagePullOptions>(
    image,
    {
      name: "pull",
      group,
      summary: "bring an image into the stores, deploying nothing",
      details:
        "Every image goes into the image store. A host image (labelled containers.bootc or ostree.bootable) is " +
        "shared with the ostree or composefs repository too, without a second copy of its files.",
      example: "onehold image pull localhost:5000/os:1 --pin",
      positionals: [referencePositional],
      options: [
        flag("--pin", "keep the image whatever else goes"),
        flag("--host", "take it for a host image whatever its labels say"),
        choice("--source <SOURCE>", "the program that pulls; auto: podman, or skopeo without it", pullSources, "auto"),
        flag("--allow-copy", "copy what can't be shared, instead of refusing"),
        flag(
          "--allow-verity",
          "let files of the image store that are hardlinked into a secure composefs repository get fs-verity: they can't be changed any more",
        ),
        tlsVerifyOption(),
      ],
      kind: "writes",
      load: verbs.imagePull,
    },
    finish,
  );
  declareVerb<ImageListOptions>(
    image,
    {
      name: "list",
      group,
      summary: "show the images: name, digest, size, the stores that hold them, why they stay",
      example: "onehold image list --type host",
      options: [choice("--type <TYPE>", "host images, logically bound images, or all", listTypes, "all")],
      kind: "reads",
      load: verbs.imageList,
    },
    finish,
  );
  const byReference = (name: string, summary: string, load: Verbs["imagePin"], details?: string): void =>
    declareVerb<ImageReferenceOptions>(
      image,
      {
        name,
        group,
        summary,
        ...(details === undefined ? {} : { details }),
        example: `onehold image ${name} localhost:5000/os:1`,
        positionals: [referencePositional],
        kind: "writes",
        load,
      },
      finish,
    );
  byReference("pin", "keep an image whatever else goes", verbs.imagePin, "It stays until 'image unpin'.");
  byReference("unpin", "let an image go when nothing else needs it", verbs.imageUnpin);
  byReference("remove", "remove an image from every store", verbs.imageRemove, "What other images share stays.");
}

/** `--tls-verify` alone means true; commander would take the next argument, the image, for its value. */
function withExplicitValues(argv: readonly string[]): string[] {
  const end = argv.includes("--") ? argv.indexOf("--") : argv.length;
  return argv.map((argument, index) => (argument === "--tls-verify" && index < end ? "--tls-verify=true" : argument));
}

function descriptor(text: string): number {
  const number = Number(text);
  if (/^\d{1,9}$/.test(text) && number >= 3) return number;
  throw new InvalidArgumentError("It is the number of an open descriptor, 3 or more.");
}

/** Commander's message on one line, and what a verb without its group may have meant. */
function usageError(text: string, program: Command): string {
  const message = text
    .trimEnd()
    .replace(/^error: /, "")
    .replaceAll(/'(--[a-z-]+) <[^>]*>'/g, "'$1'")
    .replace(/\n\(Did you mean (.*)\?\)$/s, " (did you mean $1?)");
  const unknown = /^unknown command '(.*)'/.exec(message)?.[1];
  const meant = verbsBelow(program).find((verb) => verb.name() === unknown);
  const suggestion = meant === undefined ? "" : ` (did you mean '${pathOf(meant).slice(1).join(" ")}'?)`;
  return `${paint("red", "error:")} ${message}${suggestion}\n`;
}
