/** The manual page of the program, made of its help. */
import type { Argument, Command, Option } from "commander";
import deno from "../../deno.json" with { type: "json" };
import { CONFIG_PLACES } from "../../src/cli/settings.ts";
import { program } from "../../src/cli/main.ts";
import type { Io } from "../../src/cli/io.ts";

/** A part of the text that follows a command's options in its help: `Examples:`, and what is below it. */
interface Block {
  readonly title: string;
  readonly lines: readonly string[];
}

const HEAD = `.\\" Made of the help of the program by: deno task docs
.\\" The date is left out, as the same sources have to give the same page.`;

/** In the man(7) language, for section 1. */
export function manPage(): string {
  // Nothing is run: only the tree of commands is looked at.
  const io = { out: () => {}, err: () => {} } as Partial<Io> as Io;
  const root = program({ io, brokerTypes: [], setExitCode: () => {}, faults: { handleBy: () => {} } });
  const blocks = blocksAfterHelp(root);
  const lines = [
    HEAD,
    `.TH FERVO\\-WORKER 1 "" "fervo\\-worker ${deno.version}" "User Commands"`,
    ".SH NAME",
    `fervo\\-worker \\- ${escaped(sentenceAsPhrase(root.description()))}`,
    ".SH SYNOPSIS",
    ".B fervo\\-worker",
    "[\\fIoptions\\fR] \\fIcommand\\fR [\\fIarguments\\fR]",
    ".SH DESCRIPTION",
    escaped(root.description()),
    ".SH OPTIONS",
    ...optionLines(root),
    ".SH COMMANDS",
    ...leaves(root).flatMap(commandLines),
    ".SH EXIT STATUS",
    ...exitLines(blocks),
    ".SH ENVIRONMENT",
    ...tagged(
      "\\fBFERVO_CONFIG\\fR",
      "The configuration file, for commands that are given no \\fB\\-\\-config\\fR.",
    ),
    ...tagged("\\fBNO_COLOR\\fR", "When it is set and not empty, a log on a terminal has no colours."),
    ".SH FILES",
    ...tagged(
      `\\fI${escaped(CONFIG_PLACES[0]!)}\\fR`,
      "The configuration, in the current folder; it comes first.",
    ),
    ...tagged(`\\fI${escaped(CONFIG_PLACES[1]!)}\\fR`, "The configuration of the machine."),
    ".SH EXAMPLES",
    ...exampleLines(blocks),
    ".SH SEE ALSO",
    ".BR php\\-fpm (8),",
    ".BR systemd.unit (5)",
  ];
  return `${lines.join("\n")}\n`;
}

/** Every command that does something, in the order of the help. */
function leaves(command: Command): Command[] {
  const subs = command.createHelp().visibleCommands(command).filter((sub) => sub.name() !== "help");
  return subs.flatMap((sub) => sub.commands.length === 0 ? [sub] : leaves(sub));
}

function commandLines(command: Command): string[] {
  const help = command.createHelp();
  const blocks = blocksAfterHelp(command);
  return [
    `.SS ${escaped(fullName(command))} ${escaped(command.usage())}`,
    escaped(command.description()),
    ...help.visibleArguments(command).flatMap((argument: Argument) =>
      tagged(`\\fI${escaped(argument.name())}\\fR`, escaped(help.argumentDescription(argument)))
    ),
    ...optionLines(command),
    ...blocks.flatMap(({ title, lines }) => [".PP", `${escaped(title)}:`, ...asTyped(lines)]),
  ];
}

function optionLines(command: Command): string[] {
  const help = command.createHelp();
  return help.visibleOptions(command).filter((option: Option) => option.long !== "--help")
    .flatMap((option: Option) =>
      tagged(
        escaped(option.flags).replaceAll(/(?<=^|, )\S+/g, "\\fB$&\\fR").replaceAll(/<(.*?)>/g, "\\fI$1\\fR"),
        escaped(help.optionDescription(option)),
      )
    );
}

function exitLines(blocks: readonly Block[]): string[] {
  return blockOf(blocks, "Exit codes").lines.flatMap((line) => {
    const [, code, text] = /^ *(\d+) +(.*)$/.exec(line) ?? [];
    if (code === undefined) throw new Error(`The help has an exit code that cannot be read: ${line}`);
    return tagged(`\\fB${code}\\fR`, escaped(text!));
  });
}

function exampleLines(blocks: readonly Block[]): string[] {
  return asTyped(blockOf(blocks, "Examples").lines);
}

function blockOf(blocks: readonly Block[], title: string): Block {
  const found = blocks.find((block) => block.title === title);
  if (found === undefined) throw new Error(`The help of the program has no "${title}:"`);
  return found;
}

/** What a command's help says below its options. */
function blocksAfterHelp(command: Command): Block[] {
  let text = "";
  command.configureOutput({ writeOut: (more) => text += more });
  command.outputHelp();
  const lines = text.slice(command.helpInformation().length).split("\n");
  const blocks: { title: string; lines: string[] }[] = [];
  for (const line of lines) {
    const title = /^(\S.*):$/.exec(line)?.[1];
    if (title !== undefined) blocks.push({ title, lines: [] });
    else if (blocks.length > 0) blocks.at(-1)!.lines.push(line);
    else if (line !== "") {
      throw new Error(`The help of ${fullName(command)} has a line outside a part: ${line}`);
    }
  }
  return blocks.map((block) => ({ ...block, lines: block.lines.join("\n").trimEnd().split("\n") }));
}

function fullName(command: Command): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function tagged(tag: string, text: string): string[] {
  return [".TP", tag, text];
}

function asTyped(lines: readonly string[]): string[] {
  return [".PP", ".nf", ".RS 2", ...lines.map((line) => escaped(line.replace(/^ {2}/, ""))), ".RE", ".fi"];
}

/** For `NAME`, where a short phrase is usual. */
function sentenceAsPhrase(text: string): string {
  return `${text[0]!.toLowerCase()}${text.slice(1).replace(/\.$/, "")}`;
}

/** A line of text as roff reads it: no character of it is an instruction. */
function escaped(text: string): string {
  const line = text.replaceAll("\\", "\\e").replaceAll("-", "\\-").replaceAll("'", "\\(aq").replaceAll(
    "`",
    "\\(ga",
  )
    .replaceAll("^", "\\(ha").replaceAll("~", "\\(ti").replaceAll('"', "\\(dq");
  return /^[.']/.test(line) ? `\\&${line}` : line;
}
