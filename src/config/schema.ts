// Not `import { z }`: that is one object, and a bundle would contain all of zod with its translations.
import * as z from "zod";
import {
  address,
  choice,
  decimal,
  filePath,
  isWhole,
  pagePath,
  refuseBy,
  table,
  tablesByName,
  text,
  textsByName,
  wholeNumber,
} from "./fields.ts";
import { DEFAULT_RETRY_POLICY } from "../core/retry.ts";
import { isQueueName, QUEUE_NAME_RULE } from "../core/text/queue_name.ts";
import { isToken, TOKEN_RULE } from "../core/text/token.ts";
import { type BrokerType, kindOf } from "../brokers/broker_type.ts";
import { DEFAULT_STDERR_OPTIONS, STDERR_LEVELS } from "../executors/fastcgi/acked_stderr.ts";
import { DEFAULT_FASTCGI_EXECUTOR_OPTIONS } from "../executors/fastcgi/executor.ts";
import { DEFAULT_PROCESS_EXECUTOR_OPTIONS } from "../executors/process/executor.ts";
import { DEFAULT_POOL_OPTIONS } from "../fastcgi/pool.ts";
import { DEFAULT_CONSUMER_OPTIONS } from "../worker/consumer/consumer.ts";
import { DEFAULT_FIT_BOUNDS } from "../fpm/autoscale/pool_fit.ts";
import { DEFAULT_SCHEDULE_OPTIONS } from "../worker/schedule/schedule.ts";
import { isTimeZone, whyCronIsRefused } from "../worker/schedule/schedule_rule.ts";
import { DEFAULT_WORKER_OPTIONS } from "../worker/worker.ts";
import {
  CATCH_UPS,
  DEFAULT_CONTROL_SOCKET,
  DEFAULT_EXECUTOR,
  DEFAULT_LOG,
  DEFAULT_RATE_PERIOD_MS,
  DEFAULT_TIME_ZONE,
  LOG_FORMATS,
  LOG_LEVELS,
} from "./config.ts";
import { anyBrokerSchema, brokerShape } from "./options/broker.ts";
import { whyParamIsRefused } from "./options/params.ts";
import { NO_FPM, NO_PROCESS, type TableKeys } from "./problems.ts";
import { guarded } from "./refused.ts";
import { isTracesEndpoint, TRACES_ENDPOINT, whyHeaderIsRefused } from "./options/tracing.ts";
import { whyVariableIsRefused } from "./variables.ts";

/*
 * The file's schema, one constant for each table. Every message is the end of a sentence that problems.ts begins: the expected
 * value. This module loads zod; load.ts imports it only for a file to check.
 */

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const DAY_MS = 24 * HOUR_MS;
/** More than any message should have. */
const MAX_BLOB_BYTES = 1_000_000_000;
const MAX_CONCURRENCY = 10_000;

const QUEUE_NAME = `expected a queue's name, ${QUEUE_NAME_RULE}, such as "mail"`;
const ADDRESS =
  'expected a socket\'s absolute path such as "/run/php/fervo.sock", or host and port such as "127.0.0.1:9000"';
const HTTP_ADDRESS =
  'expected host and port such as "127.0.0.1:9102", a socket\'s absolute path such as "/run/fervo-worker.sock", or "" for none';
const TOKEN = `expected ${TOKEN_RULE}, or "" for none; best from the environment, as "\${FERVO_HTTP_TOKEN}"`;
const COMMAND =
  'expected a list of the program and its arguments, such as ["php", "/srv/app/bin/console", "app:job"]';
const CONCURRENCY = `expected a whole number from 1 to ${MAX_CONCURRENCY}, or "auto"`;
const CRON = 'expected a cron expression such as "30 2 * * *"';
const TIME_ZONE = 'expected the name of a time zone, such as "Europe/Stockholm" or "UTC"';
const SCHEDULE_LIST = "expected a list of schedules: begin a table [[schedule]], with two brackets";
const NO_BROKER = "expected at least one broker: begin a table [brokers.default]";
const QUEUE_LIST = 'expected a list of at least one queue, such as ["default"]';
const CONSUMER_LIST =
  'expected at least one consumer: begin a table [[consumers]], with two brackets, and give it queues = ["default"]';

const queueName = z.string(QUEUE_NAME).refine(isQueueName, QUEUE_NAME);

const log = table({
  level: choice(LOG_LEVELS).default(DEFAULT_LOG.level),
  format: choice(LOG_FORMATS).default(DEFAULT_LOG.format),
});

const http = table({
  listen: address(HTTP_ADDRESS, "").default(""),
  token: z.string(TOKEN).refine((text) => text === "" || isToken(text), TOKEN).default(""),
  token_file: filePath("the token").default(""),
});

const tracing = table({
  endpoint: z.string(TRACES_ENDPOINT).refine((text) => text === "" || isTracesEndpoint(text), TRACES_ENDPOINT)
    .default(""),
  service_name: text(/^[^\p{Cc}]{1,255}$/u, 'a name, such as "fervo-worker"').default("fervo-worker"),
  sample_ratio: decimal(0, 1).default(1),
  headers: textsByName(whyHeaderIsRefused, /^[\x20-\x7e]*$/, "a header's text in quotes, of visible ASCII")
    .default({}),
});

const control = table({
  socket: text(/^[^\0]*$/, 'a socket\'s path, "auto", or "" for none').default(DEFAULT_CONTROL_SOCKET),
});

const params = textsByName(whyParamIsRefused);

const auto = table({
  min: wholeNumber(1, MAX_CONCURRENCY).default(DEFAULT_FIT_BOUNDS.min),
  max: wholeNumber(0, MAX_CONCURRENCY).default(0),
  reserve: wholeNumber(0, MAX_CONCURRENCY).default(DEFAULT_FIT_BOUNDS.reserve),
});

const fpm = table({
  address: address(ADDRESS),
  script: text(/^\/[^\0]*$/, 'an absolute path as php-fpm sees it, such as "/srv/app/fervo.php"'),
  status_path: pagePath("pm.status_path").default(""),
  ping_path: pagePath("ping.path").default(""),
  status_address: address(`${ADDRESS}, or "" for the pool's own address`, "").default(
    "",
  ),
  kill_on_timeout: z.boolean("expected true or false").default(
    DEFAULT_FASTCGI_EXECUTOR_OPTIONS.killOnTimeout,
  ),
  children: wholeNumber(0, 100_000).default(0),
  connect_timeout_ms: wholeNumber(1, 10 * MINUTE_MS).default(DEFAULT_POOL_OPTIONS.connectTimeoutMs),
  keepalive_ms: wholeNumber(0, HOUR_MS).default(DEFAULT_POOL_OPTIONS.keepaliveMs),
  first_byte_timeout_ms: wholeNumber(0, 7 * DAY_MS).default(DEFAULT_POOL_OPTIONS.firstByteTimeoutMs),
  idle_ms: wholeNumber(0, HOUR_MS).default(DEFAULT_POOL_OPTIONS.idleMs),
  max_response_bytes: wholeNumber(1_024, MAX_BLOB_BYTES).default(DEFAULT_POOL_OPTIONS.maxResponseBytes),
  max_header_bytes: wholeNumber(256, MAX_BLOB_BYTES).default(DEFAULT_POOL_OPTIONS.maxHeaderBytes),
  max_stderr_bytes: wholeNumber(0, MAX_BLOB_BYTES).default(DEFAULT_POOL_OPTIONS.maxStderrBytes),
  params: params.default(DEFAULT_FASTCGI_EXECUTOR_OPTIONS.params),
  auto: auto.prefault({}),
}, "expected a table of a php-fpm pool's settings, as in [fpm.default]");

const exitCode = z.string().regex(
  /^(?:0|[1-9]\d?|1\d\d|2[0-4]\d|25[0-5])$/,
  "expected a number from 0 to 255",
);

const process = table({
  command: z.array(text(/^[^\0]*$/, "a text in quotes without NUL"), COMMAND).min(1, COMMAND)
    .refine(([program]) => program !== "", COMMAND),
  payload: choice(["stdin", "argument", "environment"]).default(DEFAULT_PROCESS_EXECUTOR_OPTIONS.payload),
  payload_variable: z.string("expected a variable's name")
    .superRefine(
      refuseBy((name) =>
        name === DEFAULT_PROCESS_EXECUTOR_OPTIONS.payloadVariable ? undefined : whyVariableIsRefused(name)
      ),
    )
    .default(DEFAULT_PROCESS_EXECUTOR_OPTIONS.payloadVariable),
  directory: text(
    /^(?:\/[^\0]*)?$/,
    'an absolute path such as "/srv/app", or "" for the worker\'s own folder',
  )
    .default(DEFAULT_PROCESS_EXECUTOR_OPTIONS.directory ?? ""),
  exit_codes: z.record(exitCode, choice(["ack", "retry", "bury"]), "expected a table of exit codes").default(
    {},
  ),
  kill_after_ms: wholeNumber(0, HOUR_MS).default(DEFAULT_PROCESS_EXECUTOR_OPTIONS.killAfterMs),
  max_stderr_bytes: wholeNumber(0, MAX_BLOB_BYTES).default(DEFAULT_PROCESS_EXECUTOR_OPTIONS.maxStderrBytes),
  env: textsByName(whyVariableIsRefused).default(DEFAULT_PROCESS_EXECUTOR_OPTIONS.env),
}, "expected a table of a process's settings, as in [processes.default]");

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
  name: text(/^\P{Cc}{1,200}$/u, "1 to 200 characters without control characters").optional(),
  broker: z.string("expected a broker's name").optional(),
  executor: choice(["fastcgi", "process"]).default(DEFAULT_EXECUTOR),
  fpm: z.string("expected the name of an fpm table").optional(),
  process: z.string("expected the name of a processes table").optional(),
  queues: z.array(
    z.union([queueName, weightedQueue], {
      error: 'expected a queue\'s name, or a table such as { name = "mail", weight = 3 }',
    }),
    QUEUE_LIST,
  ).min(1, QUEUE_LIST),
  order: choice(["strict", "weighted"]).default(DEFAULT_CONSUMER_OPTIONS.order),
  concurrency: z.literal("auto", CONCURRENCY)
    .or(z.number(CONCURRENCY).refine(isWhole(1, MAX_CONCURRENCY), CONCURRENCY))
    .default(DEFAULT_CONSUMER_OPTIONS.concurrency),
  batch_size: wholeNumber(1, 1_000).default(DEFAULT_CONSUMER_OPTIONS.batchSize),
  max_in_flight_bytes: wholeNumber(1).default(DEFAULT_CONSUMER_OPTIONS.maxInFlightBytes),
  timeout_ms: wholeNumber(1, 7 * DAY_MS).default(DEFAULT_CONSUMER_OPTIONS.timeoutMs),
  ack_on: choice(["outcome", "status"]).default(DEFAULT_FASTCGI_EXECUTOR_OPTIONS.ackOn),
  payload_param: z.string('expected a param\'s name, or "" for STDIN')
    .superRefine(refuseBy((name) => name === "" ? undefined : whyParamIsRefused(name)))
    .default(DEFAULT_FASTCGI_EXECUTOR_OPTIONS.payloadParam),
  stderr_level: choice(STDERR_LEVELS).default(DEFAULT_STDERR_OPTIONS.stderrLevel),
  fatal_after_ack: choice(["warn", "fail"]).default(DEFAULT_STDERR_OPTIONS.fatalAfterAck),
  rate_limit: wholeNumber(0).default(0),
  rate_period_ms: wholeNumber(1, DAY_MS).default(DEFAULT_RATE_PERIOD_MS),
  redeliveries_max: wholeNumber(0, 1_000).default(DEFAULT_CONSUMER_OPTIONS.redeliveriesMax),
  post_mortem_timeout_ms: wholeNumber(1, HOUR_MS).default(DEFAULT_CONSUMER_OPTIONS.postMortemTimeoutMs),
  pause_max_ms: wholeNumber(1, HOUR_MS).default(DEFAULT_CONSUMER_OPTIONS.pauseMaxMs),
  retry: retry.prefault({}),
}, CONSUMER_LIST);

const scheduled = table({
  name: text(/^[A-Za-z0-9._-]{1,64}$/, "1 to 64 characters of A-Z a-z 0-9 . _ -"),
  broker: z.string("expected a broker's name").optional(),
  queue: queueName,
  cron: z.string(CRON).superRefine(refuseBy(whyCronIsRefused)).optional(),
  time_zone: z.string(TIME_ZONE).refine(isTimeZone, TIME_ZONE).default(DEFAULT_TIME_ZONE),
  every_ms: wholeNumber(1_000, 365 * DAY_MS).optional(),
  payload: z.string("expected a text").default(""),
  priority: wholeNumber(Number.MIN_SAFE_INTEGER).default(DEFAULT_SCHEDULE_OPTIONS.priority),
  attempts: wholeNumber(0).default(0),
  catch_up: choice(CATCH_UPS).default(DEFAULT_SCHEDULE_OPTIONS.catchUp),
}, SCHEDULE_LIST);

/** The schema of the file. @param types The kinds of brokers. */
export function configSchema(types: readonly BrokerType[]) {
  return table({
    shutdown_timeout_ms: wholeNumber(0, DAY_MS).default(DEFAULT_WORKER_OPTIONS.shutdownTimeoutMs),
    log: log.prefault({}),
    http: http.prefault({}),
    tracing: tracing.prefault({}),
    control: control.prefault({}),
    brokers: tablesByName(anyBrokerSchema(types), NO_BROKER)
      .refine((brokers) => Object.keys(brokers).length > 0, NO_BROKER),
    // The consumers decide which of these are needed: see checks.ts.
    fpm: tablesByName(fpm, NO_FPM).default({}),
    processes: tablesByName(process, NO_PROCESS).default({}),
    consumers: z.array(consumer, CONSUMER_LIST).min(1, CONSUMER_LIST),
    schedule: z.array(scheduled, SCHEDULE_LIST).default([]),
  });
}

/** The file as written, with the defaults filled in. */
export type ConfigFile = z.output<ReturnType<typeof configSchema>>;

/** Reads a file. If it has issues, `file` has the valid parts; to read others throws ({@link guarded}). */
export function readFile(written: unknown, types: readonly BrokerType[]) {
  let file = {} as ConfigFile;
  // For a partly refused file, zod passes its values only to a check that runs `when` there are issues, too.
  const schema = configSchema(types).superRefine((read) => void (file = read), { when: () => true });
  const issues = schema.safeParse(written).error?.issues ?? [];
  const refused = issues.filter(({ code }) => code !== "unrecognized_keys").map(({ path }) => path);
  return { file: guarded(file, refused), issues };
}

/** The tables of each key. @param types As for {@link configSchema}. */
export function tablesOf(types: readonly BrokerType[]): readonly TableKeys[] {
  const brokers = types.map((type) => ({ type, keys: Object.keys(brokerShape(type, types)) }));
  const byDriver = Map.groupBy(brokers, ({ type }) => type.driver);
  return [
    { place: "at the top, above the first [table]", keys: Object.keys(configSchema(types).shape) },
    { place: "in [[consumers]]", keys: Object.keys(consumer.shape) },
    { place: "in [consumers.retry]", keys: Object.keys(retry.shape) },
    { place: "in [[schedule]]", keys: Object.keys(scheduled.shape) },
    { place: "in [fpm.NAME]", keys: Object.keys(fpm.shape) },
    { place: "in [fpm.NAME.auto]", keys: Object.keys(auto.shape) },
    { place: "in [processes.NAME]", keys: Object.keys(process.shape) },
    { place: "in [brokers.NAME]", keys: sharedKeys(brokers) },
    ...[...byDriver].map(([driver, tables]) => ({
      place: `in [brokers.NAME] with driver = "${driver}"`,
      keys: sharedKeys(tables),
      driver,
    })),
    ...brokers.map(({ type, keys }) => ({
      place: `in [brokers.NAME] with ${kindOf(type, types)}`,
      keys,
      driver: type.driver,
    })),
    { place: "in [log]", keys: Object.keys(log.shape) },
    { place: "in [http]", keys: Object.keys(http.shape) },
    { place: "in [tracing]", keys: Object.keys(tracing.shape) },
    { place: "in [control]", keys: Object.keys(control.shape) },
  ];
}

/** The keys that all tables have. */
function sharedKeys(tables: readonly { readonly keys: readonly string[] }[]): readonly string[] {
  const [first, ...others] = tables.map(({ keys }) => keys);
  return first!.filter((key) => others.every((keys) => keys.includes(key)));
}
