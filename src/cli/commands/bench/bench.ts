import { resolve } from "node:path";
import { Command, Option } from "@commander-js/extra-typings";
import { InvalidArgumentError } from "commander";
import { MODE_NAMES, type ModeName } from "../../../bench/result.ts";
import { durationMs, queueName, wholeNumber } from "../../arguments.ts";
import type { Context } from "../../context.ts";

const DEFAULT_PAYLOAD = '{"n":1}';

export function benchCommand(context: Context) {
  return new Command("bench")
    .summary("compare php-fpm with a process for each job")
    .description(
      "Measures jobs on php-fpm and the same jobs as one PHP process each, and explains the difference. Without a " +
        "configuration it starts its own php-fpm in a temporary folder, runs a job that does nothing, and removes the " +
        "folder. With --config or FERVO_CONFIG it measures that php-fpm and its script, and asks before it sends " +
        "jobs. It uses no queue.",
    )
    .option(
      "-c, --config <file>",
      "measure the php-fpm pool of this configuration (default: FERVO_CONFIG, else none)",
    )
    .option("--own", "measure bench's own php-fpm even if FERVO_CONFIG is set")
    .option("--consumer <name>", "the consumer of the configuration, if it has several")
    .option("--fpm <name>", "the [fpm.NAME] of the configuration")
    .option("--process <name>", "the [processes.NAME] of the configuration for the mode process")
    .option("--modes <list>", `some of ${MODE_NAMES.join(",")} (default: all)`, modeList)
    .addOption(
      new Option("--jobs <n>", "jobs of each mode in each round; for process, in all rounds together")
        .argParser(wholeNumber(1)).default(1_000, "1,000"),
    )
    .option(
      "--concurrency <n>",
      "jobs at the same time (default: the consumer's, or the number of children of the pool)",
      wholeNumber(1),
    )
    .option(
      "--children <n>",
      "children of its own php-fpm (default: 2 a CPU core, at least 4)",
      wholeNumber(1),
    )
    .option("--script <file>", "a PHP script of yours that bench's own php-fpm runs")
    .option(
      "--queue <name>",
      "the queue's name for PHP (default: the consumer's first, or bench)",
      queueName,
    )
    .addOption(
      new Option("--payload <text>", "the payload of each job; @FILE reads it from a file").default(
        DEFAULT_PAYLOAD,
        DEFAULT_PAYLOAD,
      ),
    )
    .option("--rate <n/s>", "start jobs at this rate, whether or not earlier jobs have ended", rate)
    .option("--warmup <n>", "jobs before each round that are not measured", wholeNumber(0), 500)
    .option("--repeat <n>", "rounds", wholeNumber(1), 3)
    .addOption(
      new Option("--timeout <duration>", "a job that takes longer counts as failed").argParser(durationMs)
        .default(
          60_000,
          "60s",
        ),
    )
    .option("--yes", "do not ask for confirmation")
    .option("--json <file>", "write the result as JSON; - for standard output, instead of the report")
    .option("--csv <file>", "write a line for each mode; - for standard output, instead of the report")
    .option("--html <file>", "write a page with plots")
    .addHelpText(
      "after",
      `
Modes:
  fastcgi        a request to php-fpm for each job, on kept connections
  fastcgi-fresh  the same, on a new connection for each job
  process        a PHP process for each job
  raw            the bytes of one request, repeated: the most that any client could reach

Examples:
  $ fervo-worker bench
  $ fervo-worker bench --script job.php --payload @job.json --html bench.html
  $ fervo-worker bench --modes fastcgi,process --rate 30/s
  $ fervo-worker bench --config fervo-worker.toml --consumer mail --json -`,
    )
    .action(async (options, command) => {
      const fail = (text: string) => command.error(text);
      if (options.config !== undefined && options.own) fail("Give --config or --own, not both");
      if (options.json === "-" && options.csv === "-") {
        fail("Only one of --json and --csv can go to standard output");
      }
      if (options.html === "-") fail("Cannot write the page to standard output: give --html a file");
      const files = [options.json, options.csv, options.html].flatMap((file) => file ?? []);
      if (new Set(files.map((file) => resolve(file))).size < files.length) {
        fail("Give each of --json, --csv and --html a file of its own");
      }
      const { bench } = await import("./run.ts");
      await bench(context, options, fail);
    });
}

function modeList(text: string): ModeName[] {
  const names = text.split(",").map((name) => name.trim());
  const isMode = (name: string): name is ModeName => (MODE_NAMES as readonly string[]).includes(name);
  const modes = names.filter(isMode);
  if (modes.length !== names.length) {
    throw new InvalidArgumentError(`Expected names of ${MODE_NAMES.join(", ")}, separated by commas.`);
  }
  return [...new Set(modes)];
}

/** Jobs a second: `50/s` or `50`. */
function rate(text: string): number {
  const match = /^(\d+(?:\.\d+)?)(?:\/s)?$/.exec(text);
  const value = Number(match?.[1]);
  if (!(value > 0) || value > 1_000_000) {
    throw new InvalidArgumentError("Expected jobs a second, such as 50/s.");
  }
  return value;
}
