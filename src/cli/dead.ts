import { Command } from "@commander-js/extra-typings";
import { type Broker, openBroker } from "../app.ts";
import { systemClock } from "../core/clock.ts";
import type { DeadLetter } from "../core/driver.ts";
import { FervoError } from "../core/errors.ts";
import { payloadFields } from "../core/payload.ts";
import { wholeNumber } from "./arguments.ts";
import type { Context } from "./context.ts";
import { ExitCode } from "./exit_code.ts";
import type { Io } from "./io.ts";
import { brokerOption, configOption, jsonOption } from "./options.ts";
import { counted } from "./plural.ts";
import { chooseBroker, readConfig } from "./settings.ts";
import { table } from "./table.ts";

export function deadCommand(context: Context) {
  return new Command("dead")
    .summary("list, show, retry and remove dead letters")
    .description("Dead letters are jobs that failed for good. They stay until they are retried or removed.")
    .addCommand(listCommand(context))
    .addCommand(showCommand(context))
    .addCommand(
      changeCommand(context, "retry", "make dead jobs ready again, with all their tries", "Retried"),
    )
    .addCommand(changeCommand(context, "remove", "delete dead jobs", "Removed"))
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker dead list\n  $ fervo-worker dead show 42\n  $ fervo-worker dead retry --all",
    );
}

function listCommand({ io }: Context) {
  return new Command("list")
    .summary("list dead letters, the most recent first")
    .description("Lists dead letters, the most recent first.")
    .addOption(configOption())
    .addOption(brokerOption())
    .option("--queue <name>", "only of this queue")
    .option("--limit <n>", "at most so many", wholeNumber(1), 50)
    .option("--after <id>", "go on behind this one, the last of the former page")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      "\nExamples:\n  $ fervo-worker dead list\n  $ fervo-worker dead list --queue mail --json",
    )
    .action(async (options) => {
      await using broker = await open(io, options, options.queue);
      const letters = await broker.driver.dead.list({
        limit: options.limit,
        ...(options.queue !== undefined && { queue: options.queue }),
        ...(options.after !== undefined && { afterId: options.after }),
      });
      if (options.json) return io.out(`${JSON.stringify(letters.map(toJson))}\n`);
      if (letters.length === 0) return io.out("No dead letters\n");
      io.out(table(
        ["ID", "QUEUE", "DIED", "ATTEMPTS", "CODE", "ERROR"],
        letters.map(({ id, queue, diedAtMs, attempts, error }) => [
          id,
          queue,
          dateOf(diedAtMs) ?? "-",
          attempts,
          error.code,
          firstLine(error.message),
        ]),
      ));
    });
}

function showCommand({ io }: Context) {
  return new Command("show")
    .summary("show a dead letter with its error, STDERR and payload")
    .description("Shows a dead letter with its error, what it wrote to STDERR, and its payload.")
    .argument("<id>", "the job's id")
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText("after", "\nExamples:\n  $ fervo-worker dead show 42\n  $ fervo-worker dead show 42 --json")
    .action(async (id, options) => {
      await using broker = await open(io, options);
      const letter = await broker.driver.dead.get(id);
      if (letter === undefined) throw notFound(id);
      if (options.json) return io.out(`${JSON.stringify(toJson(letter))}\n`);
      io.out([
        `Job:      ${letter.id}`,
        `Queue:    ${letter.queue}`,
        `Pushed:   ${new Date(letter.enqueuedAtMs).toISOString()}`,
        `Died:     ${dateOf(letter.diedAtMs) ?? "(not known)"}`,
        `Attempts: ${letter.attempts}`,
        `Error:    ${letter.error.code}: ${letter.error.message}`,
        "STDERR:",
        indent(letter.error.stderr ?? "(nothing)"),
        `Payload (${counted(letter.payload.length, "byte")}):`,
        "",
      ].join("\n"));
      io.outBytes(letter.payload);
      io.out("\n");
    });
}

function changeCommand(
  { io, setExitCode }: Context,
  verb: "retry" | "remove",
  summary: string,
  done: string,
) {
  return new Command(verb)
    .summary(summary)
    .description(`${summary[0]!.toUpperCase()}${summary.slice(1)}.`)
    .argument("[ids...]", "the jobs' ids")
    .option("--all", "all dead jobs of the broker")
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `\nExamples:\n  $ fervo-worker dead ${verb} 42 43\n  $ fervo-worker dead ${verb} --all`,
    )
    .action(async (ids, options, command) => {
      const isAll = options.all === true;
      if (isAll === ids.length > 0) command.error("Name the jobs' ids, or give --all");
      await using broker = await open(io, options);
      const { dead } = broker.driver;
      const isDead = await Promise.all(ids.map(async (id) => await dead.get(id) !== undefined));
      const count = await dead[verb](isAll ? "all" : ids);
      io.out(options.json ? `${JSON.stringify({ count })}\n` : `${done} ${counted(count, "job")}\n`);
      for (const id of ids.filter((_, index) => !isDead[index])) {
        io.err(`fervo-worker: ${notFound(id).message}\n`);
        setExitCode(ExitCode.failed);
      }
    });
}

async function open(io: Io, options: { config?: string; broker?: string }, queue?: string): Promise<Broker> {
  const config = await readConfig(io, options.config);
  return openBroker(config, chooseBroker(config, options.broker, queue), systemClock);
}

/** A dead letter as `--json` prints it. A payload that is no text is in `payload_base64` instead of `payload`. */
function toJson({ id, queue, payload, attempts, enqueuedAtMs, diedAtMs, error }: DeadLetter) {
  return {
    id,
    queue,
    attempts,
    enqueued_at: new Date(enqueuedAtMs).toISOString(),
    died_at: dateOf(diedAtMs),
    error,
    ...payloadFields(payload),
  };
}

function dateOf(timeMs: number | undefined): string | undefined {
  return timeMs === undefined ? undefined : new Date(timeMs).toISOString();
}

function firstLine(text: string): string {
  const line = text.split("\n", 1)[0]!;
  return line.length > 100 ? `${line.slice(0, 99)}…` : line;
}

function indent(text: string): string {
  return text.split("\n").map((line) => `  ${line}`).join("\n");
}

function notFound(id: string): FervoError {
  return new FervoError("JOB_FAILED", `There is no dead letter "${id}"; see: fervo-worker dead list`);
}
