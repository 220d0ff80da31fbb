import { Command } from "@commander-js/extra-typings";
import { Argument, type Command as AnyCommand } from "commander";
import type { Context } from "./context.ts";
import type { Io } from "./io.ts";

/**
 * One script a shell. Each hands the words typed so far to the hidden command `__complete` as arguments, never through
 * `eval`, so that nothing typed on the line is run; the answer is a candidate a line, with its description behind a tab.
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

/** What the scripts call: `__complete WORD…`, the last word being the one under the cursor. */
export const COMPLETE = "__complete";

/** What `__complete` prints. It is no command of the program, which would take words such as `--` for its own. */
export function printCandidates(io: Io, program: AnyCommand, words: readonly string[]): void {
  io.out(candidates(program, words).map(([word, description]) => `${word}\t${description}\n`).join(""));
}

/** What can stand for the last of `words`, with descriptions. */
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
