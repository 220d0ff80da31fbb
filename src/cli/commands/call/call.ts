import { Command, Option } from "@commander-js/extra-typings";
import { InvalidArgumentError } from "commander";
import { systemClock } from "../../../core/time/clock.ts";
import { timeLimit } from "../../../core/time/time_limit.ts";
import { fileReason } from "../../../core/text/file_error.ts";
import { FervoError, reasonOf } from "../../../core/errors.ts";
import { DEFAULT_KEEPALIVE_MS } from "../../../net/keepalive.ts";
import { type FastCgiAddress, parseAddress } from "../../../fastcgi/address.ts";
import { Pool } from "../../../fastcgi/pool.ts";
import { openBroker } from "../../../app/assembly.ts";
import { AnswerPrinter } from "./answer_printer.ts";
import { durationMs, nameAndValue } from "../../arguments.ts";
import { callDead, exitCodeOfOutcome, outcomeText } from "./dead.ts";
import type { Context } from "../../context.ts";
import { notFound } from "../dead/letters.ts";
import { ExitCode } from "../../exit_code.ts";
import { brokerOption, configOption } from "../../options.ts";
import { deadLettersOf } from "../../broker_parts.ts";
import { chooseBroker, readConfig } from "../../settings.ts";

/** No answer has longer headers. */
const ANY_LENGTH = Number.MAX_SAFE_INTEGER;
const DEFAULT_TIMEOUT_MS = 60_000;

export function callCommand(context: Context) {
  const { io, setExitCode } = context;
  return new Command("call")
    .summary("send one FastCGI request to any FastCGI application, or run a dead letter in the foreground")
    .description(
      "Sends one FastCGI request to any FastCGI application and prints the answer as it arrives, byte for byte: headers and " +
        "body to standard output, the application's STDERR to standard error. Exits with 1 when the application's status " +
        "is not 0 or its answer is not complete; it prints the part that arrived.\n\n" +
        "With --dead it runs the job of a dead letter again as its worker would, with the params of its last attempt. It " +
        "prints the answer and its outcome, and exits with 0 when the job is done. The job really runs; the dead letter " +
        "does not change.",
    )
    .argument("[address]", "a socket's path or host:port", address)
    .option("--script <file>", "SCRIPT_FILENAME, as the application sees it")
    .option("--method <method>", "REQUEST_METHOD (default: GET, or POST with a body)")
    .option("--param <NAME=VALUE>", "a further param; may be repeated", nameAndValue)
    .option("--body <file>", "what the application reads on STDIN; - for standard input")
    .option("--dead <id>", "run this dead letter; address, script and body come from its job")
    .addOption(
      new Option(
        "--timeout <duration>",
        "give up after this time (default: 60s; with --dead, timeout_ms of the consumer)",
      )
        .argParser(durationMs),
    )
    .addOption(configOption())
    .addOption(brokerOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker call /run/php/fervo.sock --script /srv/app/ping.php
  $ fervo-worker call 127.0.0.1:9000 --script /srv/app/job.php --param FERVO_QUEUE=mail --body job.json
  $ fervo-worker call --dead 42
  $ fervo-worker call --dead 42 --param XDEBUG_TRIGGER=1 --timeout 1h`,
    )
    .action(async (target, options, command) => {
      const fail: (text: string) => never = (text) => command.error(text);
      if (options.dead !== undefined) {
        return await callLetter(target, { ...options, dead: options.dead }, fail);
      }
      if (options.config !== undefined || options.broker !== undefined) {
        fail("--config and --broker are for --dead");
      }
      if (target === undefined) fail("missing required argument 'address'");
      if (options.script === undefined) fail("required option '--script <file>' not specified");
      const body = options.body === undefined
        ? new Uint8Array(0)
        : await readBody(options.body, io.readStdin, fail);
      await callScript(target, { ...options, script: options.script }, body);
    });

  async function callScript(target: FastCgiAddress, options: ScriptCall, body: Uint8Array): Promise<void> {
    const timeoutMs = options.timeout ?? DEFAULT_TIMEOUT_MS;
    await using pool = new Pool({ address: target, clock: systemClock }, {
      maxConnections: 1,
      idleMs: 0,
      connectTimeoutMs: Math.min(timeoutMs, 10_000),
      firstByteTimeoutMs: 0,
      keepaliveMs: DEFAULT_KEEPALIVE_MS,
      // The body is printed as it comes.
      maxResponseBytes: 0,
      maxStderrBytes: 0,
      maxHeaderBytes: ANY_LENGTH,
    });
    using limit = timeLimit(systemClock, timeoutMs, () => {
      const message =
        `No complete answer from "${options.script}" in ${timeoutMs} ms; --timeout raises the limit`;
      return new FervoError("JOB_TIMEOUT", message);
    });
    const printer = new AnswerPrinter(io);
    const method = options.method ?? (body.length > 0 ? "POST" : "GET");
    try {
      const { appStatus } = await pool.request({
        params: callParams(options.script, method, body, options.param ?? []),
        body,
        onOutput: printer,
      }, limit.signal);
      if (appStatus !== 0) setExitCode(ExitCode.failed);
    } finally {
      printer.end();
    }
  }

  async function callLetter(
    target: FastCgiAddress | undefined,
    options: LetterCall,
    fail: (text: string) => never,
  ): Promise<void> {
    const { dead: id, script, method, body } = options;
    if ([target, script, method, body].some((value) => value !== undefined)) {
      fail(
        "error: --dead takes address, script, method and body from the configuration and the job: leave them out",
      );
    }
    const config = await readConfig(context, options.config);
    const brokerName = chooseBroker(config, options.broker);
    await using broker = openBroker(config, brokerName, systemClock);
    const letter = await deadLettersOf(broker, brokerName).get(id);
    if (letter === undefined) throw notFound(id);
    const printer = new AnswerPrinter(io);
    const outcome = await callDead(broker, {
      config,
      brokerName,
      letter,
      extra: Object.fromEntries(options.param ?? []),
      timeoutMs: options.timeout,
      output: printer,
      observe: (event) => {
        if (event.type === "child_ended") io.err(`Ended the PHP process ${event.pid ?? "(none ran it)"}\n`);
        if (event.type === "child_not_ended") io.err(`${event.error.message}\n`);
      },
    }).finally(() => printer.end());
    io.err(`Outcome: ${outcomeText(outcome)}\n`);
    io.err(
      `The dead letter has not changed; see: fervo-worker dead retry ${id}, fervo-worker dead remove ${id}\n`,
    );
    setExitCode(exitCodeOfOutcome(outcome));
  }
}

interface ScriptCall {
  readonly script: string;
  readonly method?: string | undefined;
  readonly param?: [string, string][] | undefined;
  readonly timeout?: number | undefined;
}

interface LetterCall extends Partial<ScriptCall> {
  readonly dead: string;
  readonly body?: string | undefined;
  readonly config?: string | undefined;
  readonly broker?: string | undefined;
}

function callParams(
  script: string,
  method: string,
  body: Uint8Array,
  extra: [string, string][],
): [string, string][] {
  const params = new Map([
    ["GATEWAY_INTERFACE", "CGI/1.1"],
    ["SERVER_PROTOCOL", "HTTP/1.1"],
    ["REQUEST_METHOD", method],
    ["SCRIPT_FILENAME", script],
    ["SCRIPT_NAME", script.slice(script.lastIndexOf("/"))],
    ["REQUEST_URI", script.slice(script.lastIndexOf("/"))],
    ["QUERY_STRING", ""],
    ["CONTENT_LENGTH", String(body.length)],
    ...extra,
  ] as [string, string][]);
  return [...params];
}

function address(text: string): FastCgiAddress {
  try {
    return parseAddress(text);
  } catch (error) {
    throw new InvalidArgumentError(reasonOf(error));
  }
}

async function readBody(
  file: string,
  readStdin: () => Promise<Uint8Array>,
  fail: (text: string) => never,
): Promise<Uint8Array> {
  if (file === "-") return await readStdin();
  try {
    return await Deno.readFile(file);
  } catch (error) {
    return fail(`Cannot read the body from "${file}": ${fileReason(error)}`);
  }
}
