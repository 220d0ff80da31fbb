import { Option } from "@commander-js/extra-typings";
import { InvalidArgumentError } from "commander";
import { openBroker } from "../../../app/assembly.ts";
import type { Config } from "../../../config/config.ts";
import { systemClock } from "../../../core/time/clock.ts";
import type { DeadLetter, DeadLetters, Failure } from "../../../core/admin.ts";
import type { Broker } from "../../../core/broker.ts";
import { FervoError } from "../../../core/errors.ts";
import { isoDate } from "../../../core/time/iso_date.ts";
import { payloadFields } from "../../../core/text/payload.ts";
import { dateMs, durationMs } from "../../arguments.ts";
import type { ConfigReader } from "../../context.ts";
import { deadLettersOf } from "../../broker_parts.ts";
import { chooseBroker, readConfig } from "../../settings.ts";
import { table } from "../../text/table.ts";

/** Selects dead letters; without fields, all. */
export interface DeadFilter {
  readonly queue?: string | undefined;
  /** The code of their error. */
  readonly code?: string | undefined;
  /** They died no earlier, epoch milliseconds. */
  readonly since?: number | undefined;
  /** A text in their payload or error. */
  readonly match?: string | undefined;
}

/** The given command, for usage errors. */
export interface UsageErrors {
  error(message: string): never;
}

/** The options of {@link DeadFilter}, for each command that takes them. */
export const filterOptions = () => ({
  queue: new Option("--queue <name>", "only this queue"),
  code: new Option("--code <code>", "only dead letters with this error, e.g. JOB_TIMEOUT"),
  since: new Option("--since <time>", "only dead letters since this time, e.g. 2h, or 2026-01-31T12:00Z")
    .argParser(momentMs),
  match: new Option("--match <text>", "only dead letters with this text in the payload or the error"),
});

export function hasFilter({ queue, code, since, match }: DeadFilter): boolean {
  return [queue, code, since, match].some((value) => value !== undefined);
}

/** A page of the dead letters that match the filter, the most recent first. */
export async function listLetters(
  command: UsageErrors,
  { broker, letters }: OpenDead,
  filter: DeadFilter,
  page: { limit: number; after?: string | undefined },
): Promise<DeadLetter[]> {
  if (broker.capabilities.dead !== "errors" && (filter.code ?? filter.since) !== undefined) {
    command.error(
      "--code and --since need a broker that keeps errors and times of dead letters; this one does not",
    );
  }
  return await letters.list({
    limit: page.limit,
    ...(filter.queue !== undefined && { queue: filter.queue }),
    ...(page.after !== undefined && { after: page.after }),
    matches: matcher(filter),
  });
}

function matcher({ code, since, match }: DeadFilter): (letter: DeadLetter) => boolean {
  const text = new TextDecoder();
  return ({ error, diedAtMs, payload }) =>
    (code === undefined || error.code === code) &&
    (since === undefined || (diedAtMs ?? -Infinity) >= since) &&
    (match === undefined ||
      [error.message, error.stderr ?? "", text.decode(payload)].some((place) => place.includes(match)));
}

/** Epoch milliseconds: of a time ago, or of a date, in UTC without an offset. */
function momentMs(text: string): number {
  const ms = dateMs(text);
  if (ms !== undefined) return ms;
  try {
    return systemClock.nowMs() - durationMs(text);
  } catch {
    throw new InvalidArgumentError(
      "Expected how long ago, such as 30m, 2h or 1d, or a date such as 2026-01-31T12:00Z.",
    );
  }
}

/** A broker whose dead letters a command works on. */
export interface OpenDead extends AsyncDisposable {
  readonly broker: Broker;
  readonly letters: DeadLetters;
  /** The broker's. */
  readonly name: string;
  readonly config: Config;
}

export async function openDead(
  context: ConfigReader,
  options: { config?: string | undefined; broker?: string | undefined; queue?: string | undefined },
): Promise<OpenDead> {
  const config = await readConfig(context, options.config);
  const name = chooseBroker(config, options.broker, options.queue);
  const broker = openBroker(config, name, systemClock);
  const letters = deadLettersOf(broker, name);
  return { broker, letters, name, config, [Symbol.asyncDispose]: () => broker.close() };
}

export function letterTable(letters: readonly DeadLetter[]): string {
  return table(
    ["ID", "QUEUE", "DIED", "ATTEMPTS", "CODE", "ERROR"],
    letters.map(({ id, queue, diedAtMs, attempts, error }) => [
      id,
      queue,
      dateOf(diedAtMs) ?? "-",
      attempts,
      error.code,
      error.message.split("\n", 1)[0]!,
    ]),
  );
}

/** A dead letter in `--json`. A binary payload is in `payload_base64` instead of `payload`. */
export function letterJson(letter: DeadLetter) {
  const { id, place, queue, payload, attempts, enqueuedAtMs, diedAtMs, error, earlierErrors } = letter;
  return {
    id,
    queue,
    attempts,
    place,
    enqueued_at: dateOf(enqueuedAtMs),
    died_at: dateOf(diedAtMs),
    error: failureJson(error),
    ...(earlierErrors && { earlier_errors: earlierErrors.map(failureJson) }),
    ...payloadFields(payload),
  };
}

function failureJson({ atMs, ...failure }: Failure) {
  return { ...failure, at: dateOf(atMs) };
}

export function dateOf(timeMs: number | undefined): string | undefined {
  return timeMs === undefined ? undefined : isoDate(timeMs);
}

export function notFound(id: string): FervoError {
  return new FervoError("JOB_FAILED", `There is no dead letter "${id}"; see: fervo-worker dead list`);
}
