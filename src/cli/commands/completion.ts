import { Command } from "@commander-js/extra-typings";
import { Argument, type Command as AnyCommand } from "commander";
import type { Config } from "../../config/config.ts";
import { FervoError } from "../../core/errors.ts";
import type { ConfigReader, Context } from "../context.ts";
import { readConfig } from "../settings.ts";

/**
 * One script for each shell. Each passes the typed words to the hidden command `__complete` as arguments, never through `eval`,
 * so that nothing on the line is run. The answer has one candidate a line, with its description after a tab.
 */
const SCRIPTS = {
  bash: `_fervo_worker() {
  mapfile -t COMPREPLY < <("$1" __complete "\${COMP_WORDS[@]:1:COMP_CWORD}" 2>/dev/null | cut -f 1)
}
complete -o default -F _fervo_worker fervo-worker
`,
  zsh: `#compdef fervo-worker
_fervo_worker() {
  local -a candidates
  candidates=("\${(@f)$("\${words[1]}" __complete "\${(@)words[2,CURRENT]}" 2>/dev/null)}")
  candidates=("\${(@)candidates//:/\\:}")
  candidates=("\${(@)candidates/$'\\t'/:}")
  if [[ -n "\${candidates[1]}" ]]; then _describe 'fervo-worker' candidates; else _files; fi
}
if [[ "\${funcstack[1]}" == _fervo-worker ]]; then _fervo_worker; else compdef _fervo_worker fervo-worker; fi
`,
  fish: `function __fervo_worker_complete
  set -l words (commandline -opc) (commandline -ct)
  $words[1] __complete $words[2..-1] 2>/dev/null
end
complete -c fervo-worker -a '(__fervo_worker_complete)'
`,
} as const;

type Shell = keyof typeof SCRIPTS;

export function completionCommand({ io }: Context) {
  return new Command("completion")
    .summary("print a shell completion script")
    .description("Prints the completion script of a shell.")
    .addArgument(new Argument("<shell>", "which shell").choices(Object.keys(SCRIPTS) as Shell[]))
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker completion bash > /etc/bash_completion.d/fervo-worker
  $ fervo-worker completion zsh > "\${fpath[1]}/_fervo-worker"
  $ fervo-worker completion fish > ~/.config/fish/completions/fervo-worker.fish`,
    )
    .action((shell) => io.out(SCRIPTS[shell as Shell]));
}

/** The scripts call `__complete WORD…`; the last word is the one under the cursor. */
export const COMPLETE = "__complete";

/** Prints the candidates. `__complete` is no command of the program, which would take words such as `--` for its own. */
export async function printCandidates(
  context: ConfigReader,
  program: AnyCommand,
  words: readonly string[],
): Promise<void> {
  const { io } = context;
  const names = namesOf(program, words);
  const found = names === undefined
    ? candidates(program, words)
    : await configuredNames(context, names, words);
  io.out(found.map(([word, description]) => `${word}\t${description}\n`).join(""));
}

/** Kinds of names in a configuration that can complete a word. */
type Names = "queue" | "broker" | "consumer";

/** The kind of the last of `words`; undefined when it is not a name of the configuration. */
function namesOf(program: AnyCommand, words: readonly string[]): Names | undefined {
  const before = words.at(-2) ?? "";
  const isName = (name: string): name is Names =>
    name === "queue" || name === "broker" || name === "consumer";
  const { command, given } = commandOf(program, words);
  if (command.options.some(({ long, required }) => long === before && required)) {
    const name = before.slice(2);
    return isName(name) ? name : undefined;
  }
  if (words.at(-1)?.startsWith("-")) return undefined;
  const argument = command.registeredArguments[given]?.name();
  return argument !== undefined && isName(argument) ? argument : undefined;
}

/** The current command, and the number of its arguments before the last word. */
function commandOf(program: AnyCommand, words: readonly string[]): { command: AnyCommand; given: number } {
  let command = program;
  let given = 0;
  for (let at = 0; at < words.length - 1; at++) {
    const word = words[at]!;
    const sub = command.commands.find((sub) => sub.name() === word);
    if (sub !== undefined) command = sub;
    else if (!word.startsWith("-")) given++;
    else if (
      command.options.some((option) => (option.long === word || option.short === word) && option.required)
    ) at++;
  }
  return { command, given };
}

/** None for an invalid configuration: the typist sees no error until the line is run. */
async function configuredNames(
  context: ConfigReader,
  names: Names,
  words: readonly string[],
): Promise<[word: string, description: string][]> {
  const at = words.findIndex((word) => word === "-c" || word === "--config");
  let config: Config;
  try {
    config = await readConfig(context, at < 0 ? undefined : words[at + 1]);
  } catch (error) {
    if (error instanceof FervoError) return [];
    throw error;
  }
  const all: Record<Names, () => [string, string][]> = {
    queue: () =>
      config.consumers.flatMap(({ name, queues }) =>
        queues.map((queue): [string, string] => [queue.name, `of consumer ${name}`])
      ),
    broker: () => [...config.brokers].map(([name, { type }]) => [name, type.driver]),
    consumer: () => config.consumers.map(({ name }) => [name, "consumer"]),
  };
  const typed = words.at(-1) ?? "";
  const found = new Map(all[names]().filter(([word]) => word.startsWith(typed)));
  return [...found];
}

/** The candidates for the last of `words`, with descriptions. */
export function candidates(
  program: AnyCommand,
  words: readonly string[],
): [word: string, description: string][] {
  const typed = words.at(-1) ?? "";
  let command = program;
  for (const word of words.slice(0, -1)) {
    command = command.commands.find((sub) => sub.name() === word) ?? command;
  }
  const found: [string, string][] = typed.startsWith("-")
    ? command.createHelp().visibleOptions(command).flatMap((option) =>
      option.long ? [[option.long, option.description] as [string, string]] : []
    )
    : [
      ...command.createHelp().visibleCommands(command).map((
        sub,
      ): [string, string] => [sub.name(), sub.summary() || sub.description()]),
      ...command.registeredArguments.flatMap((argument) =>
        (argument.argChoices ?? []).map((choice): [string, string] => [choice, argument.description])
      ),
    ];
  return found.filter(([word]) => word.startsWith(typed));
}
