import { type Command, Help, type HelpConfiguration, type Option } from "commander";

const plain = new Help();
plain.showGlobalOptions = true;

/** Help as Onehold shows it: the program's names all verbs, that of a verb has the options of every verb too. */
export const helpStyle: HelpConfiguration = {
  showGlobalOptions: true,
  visibleGlobalOptions: (command) =>
    plain.visibleGlobalOptions(command).filter((option) => option.attributeName() !== "version"),
  visibleCommands(command) {
    // Without a width, commander is not writing help but looking for a name like a mistyped one.
    return this.helpWidth === undefined ? plain.visibleCommands(command) : verbsBelow(command);
  },
  subcommandTerm: (command) => [...pathOf(command).slice(1), ...argumentsOf(command)].join(" "),
  // In capitals without brackets, what the user fills in.
  optionTerm: (option) => option.flags.replace(/ <(=?)(.*)>/, (_, sign, name) => (sign ? `[=${name}]` : ` ${name}`)),
  optionDescription: (option) => [option.description, ...valuesOf(option)].join(" "),
  styleTitle: (title) => (title === "Global Options:" ? "Options of every verb:" : title),
  commandUsage: (command) =>
    command.commands.length > 0
      ? `${pathOf(command).join(" ")} VERB [OPTIONS]`
      : [...pathOf(command), ...argumentsOf(command), "[OPTIONS]"].join(" "),
};

/** A command's names from the program's on: `onehold`, `image`, `pull`. */
export function pathOf(command: Command): string[] {
  return [...(command.parent === null ? [] : pathOf(command.parent)), command.name()];
}

/** Commands that do something, however deep. */
export function verbsBelow(command: Command): Command[] {
  return command.commands.flatMap((child) => (child.commands.length > 0 ? verbsBelow(child) : [child]));
}

function valuesOf({ argChoices, defaultValue }: Option): string[] {
  const choices = argChoices === undefined ? [] : [argChoices.join(", ")];
  const otherwise = typeof defaultValue === "string" ? [`default ${defaultValue}`] : [];
  const values = [...choices, ...otherwise];
  return values.length === 0 ? [] : [`(${values.join("; ")})`];
}

function argumentsOf(command: Command): string[] {
  return command.registeredArguments.map((argument) => argument.name());
}
