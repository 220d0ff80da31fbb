// Not `import { z }`: that is one object, and bundling it takes all of zod, its translations included.
import * as z from "zod";
import { DEFAULT_RETRY_POLICY } from "../core/retry.ts";
import { type DialectName, DIALECTS } from "../dialects/mod.ts";
import { DEFAULT_SQLITE_OPTIONS } from "../drivers/sqlite.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../executors/fastcgi.ts";
import { parseAddress } from "../fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS } from "../fastcgi/pool.ts";
import { DEFAULT_CONSUMER_OPTIONS } from "../worker/consumer.ts";
import { DEFAULT_WORKER_OPTIONS } from "../worker/worker.ts";
import { DEFAULT_DIALECT, DEFAULT_LOG, LOG_FORMATS, LOG_LEVELS } from "./config.ts";
import { whyParamIsRefused } from "./params.ts";
import { anyOf, isTable, type TableKeys } from "./problems.ts";

/*
 * The file's schema, one constant a table. Every message is the end of a sentence that problems.ts begins: what was
 * expected. This module loads zod; load.ts imports it when there is a file to check.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** SQLite's own limit of a blob. */
const MAX_BLOB_BYTES = 1_000_000_000;

const QUEUE_NAME = 'expected a queue\'s name, 1 to 128 characters of A-Z a-z 0-9 . _ : -, such as "mail"';
const ADDRESS =
  'expected a socket\'s absolute path such as "/run/php/fervo.sock", or host and port such as "127.0.0.1:9000"';
const QUEUE_LIST = 'expected a list of at least one queue, such as ["default"]';
const CONSUMER_LIST =
  'expected at least one consumer: begin a table [[consumers]], with two brackets, and give it queues = ["default"]';

const queueName = z.string(QUEUE_NAME).regex(/^[A-Za-z0-9._:-]{1,128}$/, QUEUE_NAME);

const log = table({
  level: choice(LOG_LEVELS).default(DEFAULT_LOG.level),
  format: choice(LOG_FORMATS).default(DEFAULT_LOG.format),
});

const sqliteBroker = table({
  driver: z.literal("sqlite"),
  path: text(/^(?!:memory:$)[^\0]+$/, 'a file\'s path, such as "/var/lib/fervo-worker/queue.sqlite"'),
  dialect: choice(Object.keys(DIALECTS) as DialectName[]).default(DEFAULT_DIALECT),
  lease_ms: wholeNumber(1_000, DAY_MS).default(DEFAULT_SQLITE_OPTIONS.leaseMs),
  busy_timeout_ms: wholeNumber(0, 10 * MINUTE_MS).default(DEFAULT_SQLITE_OPTIONS.busyTimeoutMs),
  file_mode: text(/^0?[67][0-7]{2}$/, 'an octal mode that lets the owner read and write, such as "0600"')
    .default(`0${DEFAULT_SQLITE_OPTIONS.fileMode.toString(8)}`),
  max_payload_bytes: wholeNumber(1, MAX_BLOB_BYTES).default(DEFAULT_SQLITE_OPTIONS.maxPayloadBytes),
});

/** One row a driver. */
const BROKERS = [sqliteBroker] as const;
const DRIVERS = BROKERS.flatMap((broker) => [...broker.shape.driver.values]);

const broker = z.discriminatedUnion("driver", BROKERS, {
  error: ({ input }) =>
    isTable(input)
      ? `expected ${anyOf(DRIVERS)}`
      : "expected a table of a broker's settings, as in [brokers.default]",
});

const params = z.record(
  z.string().superRefine((name, context) => {
    const reason = whyParamIsRefused(name);
    if (reason !== undefined) context.addIssue({ code: "custom", message: reason });
  }),
  text(/^[^\0]*$/, "a text in quotes"),
  "expected a table of names and texts",
);

const fpm = table({
  address: z.string(ADDRESS).refine(isAddress, ADDRESS),
  script: text(/^\/[^\0]*$/, 'an absolute path as php-fpm sees it, such as "/srv/app/fervo.php"'),
  status_path: pagePath("pm.status_path").default(""),
  ping_path: pagePath("ping.path").default(""),
  children: wholeNumber(0, 100_000).default(0),
  connect_timeout_ms: wholeNumber(1, 10 * MINUTE_MS).default(DEFAULT_POOL_OPTIONS.connectTimeoutMs),
  idle_ms: wholeNumber(0, HOUR_MS).default(DEFAULT_POOL_OPTIONS.idleMs),
  max_response_bytes: wholeNumber(1_024, MAX_BLOB_BYTES).default(DEFAULT_POOL_OPTIONS.maxResponseBytes),
  max_stderr_bytes: wholeNumber(0, MAX_BLOB_BYTES).default(DEFAULT_POOL_OPTIONS.maxStderrBytes),
  params: params.default(DEFAULT_FASTCGI_EXECUTOR_OPTIONS.params),
}, "expected a table of a php-fpm pool's settings, as in [fpm.default]");

const weightedQueue = table({
  name: queueName,
  weight: wholeNumber(1).optional(),
});

const retry = table({
  attempts: wholeNumber(1).default(DEFAULT_RETRY_POLICY.attempts),
  delay_ms: wholeNumber(0, 365 * DAY_MS).default(DEFAULT_RETRY_POLICY.delayMs),
  factor: decimal(1, 1_000).default(DEFAULT_RETRY_POLICY.factor),
  max_delay_ms: wholeNumber(0, 365 * DAY_MS).default(DEFAULT_RETRY_POLICY.maxDelayMs),
  jitter: decimal(0, 1).default(DEFAULT_RETRY_POLICY.jitter),
});

const consumer = table({
  name: text(/^\P{Cc}{1,200}$/u, "1 to 200 characters, none of them a control character").optional(),
  broker: z.string("expected a broker's name").optional(),
  fpm: z.string("expected the name of an fpm table").optional(),
  queues: z.array(
    z.union([queueName, weightedQueue], {
      error: 'expected a queue\'s name, or a table such as { name = "mail", weight = 3 }',
    }),
    QUEUE_LIST,
  ).min(1, QUEUE_LIST),
  order: choice(["strict", "weighted"]).default(DEFAULT_CONSUMER_OPTIONS.order),
  concurrency: wholeNumber(1, 10_000).default(DEFAULT_CONSUMER_OPTIONS.concurrency),
  timeout_ms: wholeNumber(1, 7 * DAY_MS).default(DEFAULT_CONSUMER_OPTIONS.timeoutMs),
  ack_on: choice(["outcome", "status"]).default(DEFAULT_FASTCGI_EXECUTOR_OPTIONS.ackOn),
  payload_param: z.string('expected a param\'s name, or "" for STDIN').superRefine((name, context) => {
    const reason = name === "" ? undefined : whyParamIsRefused(name);
    if (reason !== undefined) context.addIssue({ code: "custom", message: reason });
  }).default(DEFAULT_FASTCGI_EXECUTOR_OPTIONS.payloadParam),
  pause_max_ms: wholeNumber(1, HOUR_MS).default(DEFAULT_CONSUMER_OPTIONS.pauseMaxMs),
  retry: retry.prefault({}),
}, CONSUMER_LIST);

export const configSchema = table({
  shutdown_timeout_ms: wholeNumber(0, DAY_MS).default(DEFAULT_WORKER_OPTIONS.shutdownTimeoutMs),
  log: log.prefault({}),
  brokers: tablesByName(broker, "expected at least one broker: begin a table [brokers.default]"),
  fpm: tablesByName(fpm, "expected at least one php-fpm pool: begin a table [fpm.default]"),
  consumers: z.array(consumer, CONSUMER_LIST).min(1, CONSUMER_LIST),
});

/** The file as written, with the defaults filled in. */
export type ConfigFile = z.output<typeof configSchema>;

/** Where each key belongs. */
export const TABLES: readonly TableKeys[] = [
  { place: "at the top, above the first [table]", keys: Object.keys(configSchema.shape) },
  { place: "in [[consumers]]", keys: Object.keys(consumer.shape) },
  { place: "in [consumers.retry]", keys: Object.keys(retry.shape) },
  { place: "in [fpm.NAME]", keys: Object.keys(fpm.shape) },
  { place: "in [brokers.NAME]", keys: BROKERS.flatMap((broker) => Object.keys(broker.shape)) },
  { place: "in [log]", keys: Object.keys(log.shape) },
];

/** A table that refuses unknown keys. The message about those lists the known ones, separated by ", ". */
function table<Shape extends z.core.$ZodLooseShape>(shape: Shape, expected = "expected a table") {
  return z.strictObject(shape, {
    error: (issue) => issue.code === "unrecognized_keys" ? Object.keys(shape).join(", ") : expected,
  });
}

function tablesByName<Table extends z.ZodType>(table: Table, expected: string) {
  const name = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "expected 1 to 64 characters of A-Z a-z 0-9 . _ -");
  return z.record(name, table, expected).refine((tables) => Object.keys(tables).length > 0, expected);
}

function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  const range = max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  const expected = `expected a whole number ${range}`;
  return z.int(expected).min(min, expected).max(max, expected);
}

function decimal(min: number, max: number) {
  const expected = `expected a number from ${min} to ${max}`;
  return z.number(expected).min(min, expected).max(max, expected);
}

function text(pattern: RegExp, what: string) {
  return z.string(`expected ${what}`).regex(pattern, `expected ${what}`);
}

function choice<const Value extends string>(values: readonly Value[]) {
  return z.enum(values, `expected ${anyOf(values)}`);
}

function pagePath(directive: string) {
  return text(/^(?:\/[^\0]*)?$/, `php-fpm's ${directive}, which begins with "/", or "" for none`);
}

function isAddress(text: string): boolean {
  try {
    parseAddress(text);
    return true;
  } catch {
    return false;
  }
}
