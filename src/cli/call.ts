import { Command, Option } from "@commander-js/extra-typings";
import { InvalidArgumentError } from "commander";
import { systemClock } from "../core/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { type FastCgiAddress, parseAddress } from "../fastcgi/address.ts";
import { Pool } from "../fastcgi/pool.ts";
import { durationMs, nameAndValue } from "./arguments.ts";
import type { Context } from "./context.ts";
import { ExitCode } from "./exit_code.ts";
import { fileReason } from "./file_error.ts";

/** More than anybody wants to see in a terminal, and still no endless answer. */
const MAX_ANSWER_BYTES = 1024 * 1024 * 1024;

export function callCommand({ io, setExitCode }: Context) {
  return new Command("call")
    .summary("send one FastCGI request to any FastCGI application")
    .description(
      "Sends one FastCGI request to any FastCGI application and prints the answer: headers and body to standard " +
        "output, the application's STDERR to standard error. Exits with 1 when the application's status is not 0 or " +
        "its answer is not complete.",
    )
    .argument("<address>", "a socket's path or host:port", address)
    .requiredOption("--script <file>", "SCRIPT_FILENAME, as the application sees it")
    .option("--method <method>", "REQUEST_METHOD (default: GET, or POST with a body)")
    .option("--param <NAME=VALUE>", "a further param; may be repeated", nameAndValue)
    .option("--body <file>", "what the application reads on STDIN; - for standard input")
    .addOption(
      new Option("--timeout <duration>", "give up after so long").argParser(durationMs).default(
        60_000,
        "60s",
      ),
    )
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker call /run/php/fervo.sock --script /srv/app/ping.php
  $ fervo-worker call 127.0.0.1:9000 --script /srv/app/job.php --param FERVO_QUEUE=mail --body job.json`,
    )
    .action(async (target, options, command) => {
      const body = options.body === undefined
        ? new Uint8Array(0)
        : await readBody(options.body, io.readStdin, (text) => command.error(text));
      await using pool = new Pool({ address: target, clock: systemClock }, {
        maxConnections: 1,
        idleMs: 0,
        connectTimeoutMs: Math.min(options.timeout, 10_000),
        firstByteTimeoutMs: 0,
        maxResponseBytes: MAX_ANSWER_BYTES,
        maxStderrBytes: MAX_ANSWER_BYTES,
        maxHeaderBytes: MAX_ANSWER_BYTES,
      });
      const abort = new AbortController();
      const timer = systemClock.setTimer(() => {
        const message = `No complete answer from "${options.script}" in ${options.timeout} ms`;
        abort.abort(new FervoError("JOB_TIMEOUT", message));
      }, options.timeout);
      try {
        const response = await pool.request({
          params: callParams(
            options.script,
            options.method ?? (body.length > 0 ? "POST" : "GET"),
            body,
            options.param ?? [],
          ),
          body,
        }, abort.signal);
        for (const [name, value] of response.headers) io.out(`${name}: ${value}\n`);
        io.out("\n");
        io.outBytes(response.body);
        if (response.stderr !== "") io.err(`${response.stderr}\n`);
        if (response.appStatus !== 0) setExitCode(ExitCode.failed);
      } finally {
        timer.cancel();
      }
    });
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
