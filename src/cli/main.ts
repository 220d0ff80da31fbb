import { Command } from "@commander-js/extra-typings";
import { type Command as AnyCommand, CommanderError } from "commander";
import { FervoError } from "../core/errors.ts";
import { benchCommand } from "./commands/bench/bench.ts";
import { callCommand } from "./commands/call/call.ts";
import { checkCommand } from "./commands/check/check.ts";
import { COMPLETE, completionCommand, printCandidates } from "./commands/completion.ts";
import type { ConfigReader, Context } from "./context.ts";
import type { BrokerType } from "../brokers/broker_type.ts";
import { BROKER_TYPES } from "../brokers/mod.ts";
import { quietCommand, reloadCommand, statusCommand, stopCommand } from "./commands/control.ts";
import { deadCommand } from "./commands/dead/dead.ts";
import { ExitCode, exitCodeOf } from "./exit_code.ts";
import { initCommand } from "./commands/init/init.ts";
import { Faults, faultText } from "./faults.ts";
import { type Io, StreamError } from "./io.ts";
import { jobsCommand } from "./commands/jobs.ts";
import { licensesCommand } from "./commands/licenses/licenses.ts";
import { pauseCommand, resumeCommand } from "./commands/pause.ts";
import { purgeCommand } from "./commands/purge.ts";
import { pushCommand } from "./commands/push.ts";
import { queuesCommand } from "./commands/queues/queues.ts";
import { schemaCommand } from "./commands/schema.ts";
import { scheduleCommand } from "./commands/schedule.ts";
import { runCommand } from "./commands/run/run.ts";
import { versionInfo } from "../app/version.ts";
import { jsonLine } from "./text/json_line.ts";
import { inOrder } from "./word_order.ts";

/**
 * The program: runs the command in `args` and returns the exit code; never throws.
 *
 * @param args As in `Deno.args`.
 * @param brokerTypes The kinds of brokers in a configuration.
 */
export async function main(
  args: readonly string[],
  io: Io,
  brokerTypes: readonly BrokerType[] = BROKER_TYPES,
): Promise<ExitCode> {
  using faults = new Faults(io);
  try {
    return await Promise.race([runCommandOf(args, { io, brokerTypes }, faults), faults.fatal]);
  } finally {
    await io.flush();
  }
}

async function runCommandOf(
  args: readonly string[],
  reader: ConfigReader,
  faults: Faults,
): Promise<ExitCode> {
  const { io } = reader;
  let exitCode: ExitCode = ExitCode.ok;
  try {
    const root = program({ ...reader, setExitCode: (code) => exitCode = code, faults }, args);
    if (args[0] === COMPLETE) await printCandidates(reader, root, args.slice(1));
    else await root.parseAsync(inOrder(root, args), { from: "user" });
    return exitCode;
  } catch (error) {
    // commander has printed its own message, and requested help is no failure.
    if (error instanceof CommanderError) return error.exitCode === 0 ? ExitCode.ok : ExitCode.usage;
    if (error instanceof FervoError) {
      // A list of problems begins each line with its place, which editors can jump to.
      const head = error.details["problems"] === undefined ? "" : "The configuration cannot be used:\n";
      io.err(`fervo-worker: ${head}${error.message}\n`);
      return exitCodeOf(error.code);
    }
    if (error instanceof StreamError) {
      io.err(`fervo-worker: ${error.message}\n`);
      return ExitCode.failed;
    }
    io.err(faultText(error));
    return ExitCode.failed;
  }
}

/**
 * The tree of all commands.
 *
 * @param args The arguments to parse later.
 */
export function program(context: Context, args: readonly string[] = []): AnyCommand {
  const { io } = context;
  const root: AnyCommand = new Command("fervo-worker")
    .description("Runs background jobs from a queue on PHP-FPM.")
    .option("-V, --version", "print the version; with --json also the commit, the target and the runtime")
    .helpCommand(true)
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker init                              write a configuration
  $ fervo-worker check                             check that everything is in place
  $ fervo-worker run                               run jobs until stopped
  $ fervo-worker push mail '{"to":"ann@example.org"}'
  $ fervo-worker bench                             compare php-fpm with a process for each job

Exit codes:
  0  all went well
  1  something failed while the command ran, or check has warnings
  2  the command line is wrong
  3  the configuration is wrong
  4  the broker, php-fpm or a running worker cannot be reached, or nothing can run the jobs
  5  run --until-empty: some jobs became dead letters, everything else went well
  130  bench was interrupted`,
    ) as unknown as AnyCommand;
  // Like commander's own one, which cannot print JSON.
  root.on("option:version", () => {
    io.out(args.includes("--json") ? jsonLine(versionInfo()) : `fervo-worker ${versionInfo().version}\n`);
    throw new CommanderError(ExitCode.ok, "commander.version", "");
  });
  const commands = [
    runCommand(context),
    statusCommand(context),
    quietCommand(context),
    stopCommand(context),
    reloadCommand(context),
    pushCommand(context),
    queuesCommand(context),
    jobsCommand(context),
    pauseCommand(context),
    resumeCommand(context),
    purgeCommand(context),
    scheduleCommand(context),
    schemaCommand(context),
    deadCommand(context),
    checkCommand(context),
    callCommand(context),
    benchCommand(context),
    initCommand(context),
    completionCommand(context),
    licensesCommand(context),
  ] as unknown as AnyCommand[];
  for (const command of commands) root.addCommand(command);
  forEachCommand(root, (command) => {
    command.exitOverride().showSuggestionAfterError().showHelpAfterError(`See: ${fullName(command)} --help`);
    command.configureOutput({
      writeOut: io.out,
      writeErr: io.err,
      outputError: (text, write) => write(asSentence(text)),
    });
  });
  return root;
}

/** commander's message in our form: `error: unknown option` becomes `fervo-worker: Unknown option`. */
function asSentence(text: string): string {
  const message = text.replace(/^error: /, "");
  return `fervo-worker: ${message[0]!.toUpperCase()}${message.slice(1)}`;
}

function fullName(command: AnyCommand): string {
  return command.parent === null ? command.name() : `${fullName(command.parent)} ${command.name()}`;
}

function forEachCommand(command: AnyCommand, apply: (command: AnyCommand) => void): void {
  apply(command);
  for (const sub of command.commands) forEachCommand(sub, apply);
}
