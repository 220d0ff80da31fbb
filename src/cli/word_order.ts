import type { Command } from "commander";

/** Options of commands that people also put before the command's name; whether a value follows. */
const MOVED: Readonly<Record<string, boolean>> = { "-c": true, "--config": true, "--json": false };

/**
 * The arguments in the program's order: `--config` and `--json` before a command's name are moved after it, `version` means
 * `--version`, and `help dead list` means `dead list --help`.
 */
export function inOrder(root: Command, args: readonly string[]): string[] {
  const [first, ...others] = args;
  if (first === "version") return ["--version", ...others];
  if (first === "help") return helpFor(root, others);
  const path: string[] = [];
  const moved: string[] = [];
  let command = root;
  let at = 0;
  for (; at < args.length; at++) {
    const word = args[at]!;
    const [name] = word.split("=", 1);
    if (Object.hasOwn(MOVED, name!)) {
      const takesNext = MOVED[name!] && !word.includes("=");
      moved.push(...args.slice(at, at + (takesNext ? 2 : 1)));
      if (takesNext) at++;
      continue;
    }
    const sub = command.commands.find((sub) => sub.name() === word);
    if (sub === undefined) break;
    path.push(word);
    command = sub;
  }
  return path.length === 0 ? [...args] : [...path, ...moved, ...args.slice(at)];
}

/** A missing command is left to be refused. */
function helpFor(root: Command, path: readonly string[]): string[] {
  let command = root;
  for (const [i, word] of path.entries()) {
    const sub = command.commands.find((sub) => sub.name() === word);
    if (sub === undefined) return path.slice(0, i + 1);
    command = sub;
  }
  return [...path, "--help"];
}
