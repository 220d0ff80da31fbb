import { typeOf } from "../brokers/broker_type.ts";
import { parseAddress } from "../fastcgi/address.ts";
import { checkAutoBounds, checkAutoConsumer, leastJobs } from "./options/auto.ts";
import { checkHttp } from "./options/http.ts";
import { SCHEDULE_CHECKS } from "./options/schedule.ts";
import {
  isTable,
  missingKey,
  NO_FPM,
  NO_PROCESS,
  type Problem,
  show,
  valueAt,
  wrongValue,
} from "./problems.ts";
import { taken } from "./refused.ts";
import type { BrokerTable } from "./options/broker.ts";
import type { ConfigFile } from "./schema.ts";
import {
  type Check,
  checkEach,
  checkNamed,
  type Consumer,
  isTaken,
  type Pool,
  problem,
  type Problems,
  type Reading,
  type Table,
  tableAt,
  tablesIn,
  usedBroker,
  usedTable,
} from "./tables.ts";

/**
 * Checks beyond the schema: whether the values of several keys fit together.
 *
 * All problems are reported at once, so a file that the schema refuses is checked, too, in its valid parts.
 */
export function checkReferences(reading: Reading): Problem[] {
  const consumers = tablesIn("consumers", reading);
  const executors = consumers.map(({ value }) => taken(() => value.executor));
  return [
    ...consumers.length === 0 || executors.includes("fastcgi") ? checkSome("fpm", NO_FPM, reading) : [],
    ...executors.includes("process") ? checkSome("processes", NO_PROCESS, reading) : [],
    ...checkEach(consumers, CONSUMER_CHECKS, reading),
    ...checkEach(tablesIn("fpm", reading), POOL_CHECKS, reading),
    ...checkEach(tablesIn("brokers", reading), [checkBroker], reading),
    ...checkEach(tablesIn("schedule", reading), SCHEDULE_CHECKS, reading),
    ...checkEach(tableAt<ConfigFile["http"]>(["http"], reading), [checkHttp], reading),
    ...checkEach(tableAt<ConfigFile["tracing"]>(["tracing"], reading), [checkTracing], reading),
  ];
}

const CONSUMER_CHECKS: readonly Check<Consumer>[] = [
  (consumer, reading) => checkNamed("broker", "brokers", consumer, reading),
  checkExecutor,
  checkAutoConsumer,
  checkBatch,
  checkFramework,
  checkFatal,
  checkQueues,
  checkQueueNames,
  checkRetry,
  checkConsumerName,
];

const POOL_CHECKS: readonly Check<Pool>[] = [
  checkChildren,
  checkAutoBounds,
  checkHeaderBytes,
  checkStatusPage,
  checkKill,
];

/** At least one table in a group. */
function* checkSome(group: string, expected: string, { written }: Reading): Problems {
  const tables = written[group];
  if (tables === undefined) yield missingKey([group], expected);
  else if (isTable(tables) && Object.keys(tables).length === 0) yield wrongValue([group], tables, expected);
}

/** A type's own check reads the written values. */
function checkBroker({ value, written, path }: Table<BrokerTable>, { types }: Reading): Problem[] {
  return typeOf(types, value)?.check?.(written, path) ?? [];
}

function* checkTracing(tracing: Table<ConfigFile["tracing"]>): Problems {
  if (tracing.value.endpoint !== "" || Object.keys(tracing.value.headers).length === 0) return;
  yield problem(tracing, "headers", "headers have no effect without an endpoint: set one, or remove them");
}

/** The keys of a consumer for only one executor; the first names a table of the group. */
const EXECUTORS = {
  fastcgi: { keys: ["fpm", "ack_on", "payload_param", "batch_size"], group: "fpm", other: "process" },
  process: { keys: ["process"], group: "processes", other: "fastcgi" },
} as const;

function* checkExecutor(consumer: Consumer, reading: Reading): Problems {
  const { executor } = consumer.value;
  const { keys, group, other } = EXECUTORS[executor];
  yield* checkNamed(keys[0], group, consumer, reading);
  for (const key of EXECUTORS[other].keys) {
    if (consumer.written[key] === undefined) continue;
    const text =
      `${key} has no effect with executor = "${executor}": remove it, or set executor = "${other}"`;
    yield problem(consumer, key, text);
  }
}

/** A batch has one body and one answer for all its jobs. */
function* checkBatch(consumer: Consumer): Problems {
  const { executor, batch_size: batchSize, ack_on: ackOn, payload_param: payloadParam } = consumer.value;
  if (batchSize === 1 || executor !== "fastcgi") return;
  const tell = (reason: string, key: string) => {
    const text = `batch_size is ${batchSize}, and ${reason} (${key}): set batch_size = 1, or remove ${key}`;
    return problem(consumer, "batch_size", text);
  };
  if (ackOn === "status") yield tell("one HTTP status cannot report several jobs", "ack_on");
  if (payloadParam !== "") yield tell("a batch sends its payloads on STDIN", "payload_param");
}

/**
 * A framework's messages use the framing of batches. Post-mortems need the certain end of the child that ran the job
 * (docs/adr/0036).
 */
function* checkFramework(consumer: Consumer, reading: Reading): Problems {
  const { type, broker } = usedBroker(consumer, reading) ?? {};
  const framework = type?.formats[broker!.format]?.framework;
  if (framework === undefined) return;
  const what = `messages of the format ${show(broker!.format)}`;
  const { executor, ack_on: ackOn, payload_param: payloadParam } = consumer.value;
  if (executor === "process") {
    const text = `a process cannot run ${what}, which their framework reads: set executor = "fastcgi"`;
    yield problem(consumer, "executor", text);
    return;
  }
  if (ackOn === "status") {
    yield problem(consumer, "ack_on", `an HTTP status cannot report ${what}: remove ack_on`);
  }
  if (payloadParam !== "") {
    yield problem(consumer, "payload_param", `${what} go on STDIN: remove payload_param`);
  }
  const pool = usedTable("fpm", "fpm", consumer, reading);
  if (!framework.isToldFailures || pool === undefined || pool.value.kill_on_timeout) return;
  const text =
    `consumers of ${what} need kill_on_timeout = true: the worker reports a job that timed out to its framework only after ` +
    "the PHP process of the job has ended";
  yield problem(pool, "kill_on_timeout", text);
}

/** Only the kept part of STDERR is searched for errors. */
function* checkFatal(consumer: Consumer, reading: Reading): Problems {
  if (consumer.value.fatal_after_ack !== "fail") return;
  const { keys: [key], group } = EXECUTORS[consumer.value.executor];
  const table = usedTable(key, group, consumer, reading);
  if (table?.value.max_stderr_bytes !== 0) return;
  const text = `fatal_after_ack has no effect with max_stderr_bytes = 0 in [${table.path.join(".")}]`;
  yield problem(consumer, "fatal_after_ack", `${text}: remove one of them`);
}

function* checkQueues({ value: { queues, order }, path }: Consumer): Problems {
  const names = queues.map(queueNameOf);
  for (const [index, queue] of queues.entries()) {
    const place = [...path, "queues", index];
    if (names.indexOf(names[index]!) < index) {
      yield { path: place, text: `queue ${show(names[index])} is listed twice: remove one` };
    }
    if (typeof queue === "object" && queue.weight !== undefined && order !== "weighted") {
      const text = 'a weight has no effect in strict order: set order = "weighted", or remove the weight';
      yield { path: [...place, "weight"], text };
    }
  }
}

/** A broker can have its own rules for names of queues. */
function* checkQueueNames(consumer: Consumer, reading: Reading): Problems {
  const used = usedBroker(consumer, reading);
  for (const [index, queue] of consumer.value.queues.entries()) {
    const name = queueNameOf(queue);
    const reason = used?.type.whyQueueIsRefused?.(name, used.broker);
    const path = [...consumer.path, "queues", index, ...(typeof queue === "object" ? ["name"] : [])];
    if (reason !== undefined) yield { path, text: `queue ${show(name)} ${reason}` };
  }
}

function* checkRetry({ value: { retry }, written, path }: Consumer): Problems {
  const { delay_ms: delayMs, max_delay_ms: maxDelayMs } = retry;
  if (delayMs <= maxDelayMs) return;
  const key = valueAt(written, ["retry", "delay_ms"]) === undefined ? "max_delay_ms" : "delay_ms";
  const text = `retry.delay_ms (${delayMs}) is more than retry.max_delay_ms (${maxDelayMs})`;
  yield { path: [...path, "retry", key], text: `${text}: lower the one or raise the other` };
}

function* checkConsumerName(consumer: Consumer, reading: Reading): Problems {
  if (!isTaken(consumer, tablesIn("consumers", reading), consumerNameOf)) return;
  const what = consumer.value.name === undefined ? "this consumer's name, made of its queues," : "name";
  const text = `${what} is ${show(consumerNameOf(consumer))} like another consumer's`;
  yield problem(consumer, "name", `${text}: give each consumer a name of its own`);
}

/** More jobs than children would wait in the listen queue while their time limit runs. */
function* checkChildren(pool: Pool, reading: Reading): Problems {
  const { children } = pool.value;
  const jobs = leastJobs(pool, reading);
  if (children === 0 || jobs <= children) return;
  const expected =
    `its consumers run up to ${jobs} jobs at once; lower their concurrency to ${children} in all, ` +
    `or raise pm.max_children of php-fpm and this number with it`;
  yield wrongValue([...pool.path, "children"], children, expected);
}

function* checkHeaderBytes(pool: Pool): Problems {
  const { max_header_bytes: header, max_response_bytes: response } = pool.value;
  if (header <= response) return;
  const key = pool.written["max_header_bytes"] === undefined ? "max_response_bytes" : "max_header_bytes";
  const text = `max_header_bytes (${header}) is more than max_response_bytes (${response})`;
  yield problem(pool, key, `${text}: lower the one or raise the other`);
}

function* checkStatusPage(pool: Pool): Problems {
  const { status_path: path, status_address: address, kill_on_timeout: doesKill } = pool.value;
  if (path !== "") return;
  if (address !== "") {
    const text = "status_address has no effect without a status page: set status_path too";
    yield problem(pool, "status_address", text);
  }
  if (doesKill) {
    const text =
      "kill_on_timeout needs the status page, which shows the PHP process of a job: set pm.status_path in " +
      "php-fpm's pool file, and status_path here";
    yield problem(pool, "kill_on_timeout", text);
  }
}

function* checkKill(pool: Pool): Problems {
  if (!pool.value.kill_on_timeout || parseAddress(pool.value.address).transport === "unix") return;
  const text = "kill_on_timeout needs a php-fpm on this machine, and so a unix socket for its address: " +
    'let php-fpm listen on one, or set "kill_on_timeout = false" and rely on request_terminate_timeout';
  yield problem(pool, "kill_on_timeout", text);
}

/** The name of a consumer without `name`. */
export function defaultConsumerName(queues: readonly string[]): string {
  return queues.join(",");
}

function consumerNameOf({ value: { name, queues } }: Consumer): string {
  return name ?? defaultConsumerName(queues.map(queueNameOf));
}

function queueNameOf(queue: Consumer["value"]["queues"][number]): string {
  return typeof queue === "string" ? queue : queue.name;
}
