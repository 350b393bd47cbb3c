import { Argument, type Command, InvalidArgumentError, Option } from "commander";
import { pathOf } from "./help.ts";
import { type CommonOptions, outputFormats } from "./options.ts";
import type { LoadVerb } from "./verbs.ts";

/** What stands after a verb without an option's name. */
export interface Positional {
  /** The name by which the verb finds it among its options. */
  readonly key: string;
  /** In help texts, in capitals. */
  readonly name: string;
  readonly help: string;
  /** What it is where the user leaves it out; without it the user must not. */
  readonly otherwise?: string;
}

/** A verb as the user sees it in help texts, and what runs it. */
export interface VerbDeclaration<Options> {
  readonly name: string;
  /** The heading of the program's help under which it stands. */
  readonly group: string;
  /** After the name in a list; the first sentence of its own help. */
  readonly summary: string;
  readonly details?: string;
  readonly example: string;
  readonly positionals?: readonly Positional[];
  readonly options?: readonly Option[];
  /** "bytes": the result has but one form, and no option to print it in another. */
  readonly result?: "bytes";
  /** Only a verb that writes catches Ctrl-C. */
  readonly kind: "reads" | "writes";
  readonly load: LoadVerb<Options>;
}

export const referencePositional: Positional = {
  key: "reference",
  name: "REF",
  help:
    "the image: TRANSPORT:NAME, or a plain name for one in a registry. " +
    "Transports are docker://, registry:, oci:, oci-archive:, dir: and containers-storage:",
};

/** Adds a verb to its parent command. `finish` gets its exit status. */
export function declareVerb<Options extends object>(
  parent: Command,
  declaration: VerbDeclaration<Options>,
  finish: (status: number) => void,
): void {
  const { name, group, summary, details, example, positionals = [], options = [], result, kind, load } = declaration;
  const command = declareCommand(parent, name, summary)
    .helpGroup(group)
    .description([`${sentence(summary)}.`, ...(details === undefined ? [] : [details])].join(" "))
    .allowExcessArguments(false)
    .addHelpText("after", `\nExample:\n  ${example}`);
  for (const positional of positionals) {
    // Among the options is where a verb looks for it.
    const keep = (value: string): string => {
      command.setOptionValue(positional.key, value);
      return value;
    };
    const { otherwise } = positional;
    const term = otherwise === undefined ? `<${positional.name}>` : `[${positional.name}]`;
    command.addArgument(new Argument(term, positional.help).argParser(keep));
    if (otherwise !== undefined) command.setOptionValue(positional.key, otherwise);
  }
  for (const option of [...options, ...(result === "bytes" ? [] : outputOptions())]) command.addOption(option);
  command.action(async () => {
    const { execute } = await import("./execute.ts");
    const common = command.optsWithGlobals<CommonOptions>();
    const own = command.optsWithGlobals<Options>();
    const run: Parameters<typeof execute>[0]["run"] = async (context) => (await load()).run(own, context);
    finish(await execute({ verb: pathOf(command).join(" "), kind, common, run }));
  });
}

/** Adds a command whose errors point to its own help. */
export function declareCommand(parent: Command, name: string, summary: string): Command {
  const command = parent.command(name).summary(summary);
  return command.showHelpAfterError(helpPointer(command));
}

/** The second line of an error of usage. */
export function helpPointer(command: Command): string {
  return `hint: See '${pathOf(command).join(" ")} --help'.`;
}

/** An option that takes one of a few words. */
export function choice(flags: string, description: string, words: readonly string[], otherwise?: string): Option {
  const option = new Option(flags, description).choices(words);
  return otherwise === undefined ? option : option.default(otherwise);
}

export function flag(flags: string, description: string): Option {
  return new Option(flags, description).default(false);
}

/** Of verbs that ask registries. */
export function tlsVerifyOption(): Option {
  const description = "demand HTTPS and a valid certificate, or do not (default: as registries.conf says)";
  return new Option("--tls-verify <=BOOL>", description).argParser(boolean);
}

/** As podman takes them. */
function boolean(text: string): boolean {
  if (/^(?:1|t|true)$/i.test(text)) return true;
  if (/^(?:0|f|false)$/i.test(text)) return false;
  throw new InvalidArgumentError("It is true or false.");
}

function outputOptions(): Option[] {
  return [
    choice("--format <FORMAT>", "how to print the result", outputFormats, "humanreadable"),
    flag("--json", "short for --format json").conflicts("format"),
  ];
}

function sentence(text: string): string {
  return text.charAt(0).toUpperCase() + text.slice(1);
}
