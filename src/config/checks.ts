import { DEFAULT_RETRY_POLICY } from "../core/retry.ts";
import type { BrokerType } from "../brokers/broker_type.ts";
import { parseAddress } from "../fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS } from "../fastcgi/pool.ts";
import { DEFAULT_CONSUMER_OPTIONS } from "../worker/consumer/consumer.ts";
import { DEFAULT_EXECUTOR } from "./config.ts";
import { isTable, missingKey, type Path, type Problem, show, wrongValue } from "./problems.ts";
import { checkAutoBounds, checkAutoConsumer, leastOfAuto } from "./options/auto.ts";
import { checkHttp } from "./options/http.ts";
import {
  checkNamed,
  listOf,
  namesIn,
  NO_FPM,
  NO_PROCESS,
  type Table,
  tablesIn,
  usedBroker,
  usedTable,
} from "./tables.ts";
import { checkSchedules } from "./options/schedule.ts";
import { checkTracing } from "./options/tracing.ts";

/**
 * What the schema cannot see: how the values of several keys fit together.
 *
 * It reads the file's raw values, for all problems are told at once, and a file that the schema refuses may have these
 * too. So it passes over what it cannot read; the schema has reported that.
 *
 * @param types The kinds of brokers that there are.
 */
export function checkReferences(data: unknown, types: readonly BrokerType[]): Problem[] {
  if (!isTable(data)) return [];
  const consumers = listOf(data["consumers"]).map((value, index) => ({
    value: isTable(value) ? value : {},
    path: ["consumers", index],
  }));
  const executors = new Set(consumers.map(({ value }) => executorOf(value)));
  return [
    ...(consumers.length === 0 || executors.has("fastcgi") ? checkSome("fpm", data, NO_FPM) : []),
    ...(executors.has("process") ? checkSome("processes", data, NO_PROCESS) : []),
    ...consumers.flatMap(({ value, path }) => [
      ...checkNamed("broker", namesIn(data["brokers"]), "brokers", value, path),
      ...checkExecutor(data, value, path),
      ...checkAutoConsumer(value, path, executorOf(value), poolOf(data["fpm"], value)),
      ...checkBatch(value, path),
      ...checkFatal(data, value, path),
      ...checkQueues(value, path),
      ...checkQueueNames(usedBroker(data["brokers"], value, types)?.type, value, path),
      ...checkRetry(value, path),
    ]),
    ...checkConsumerNames(consumers),
    ...isTable(data["http"]) ? checkHttp(data["http"], ["http"]) : [],
    ...isTable(data["tracing"]) ? checkTracing(data["tracing"], ["tracing"]) : [],
    ...checkSchedules(data["brokers"], data["schedule"], types),
    ...tablesIn(data["fpm"]).flatMap(([name, pool]) => {
      const users = consumers.map(({ value }) => value).filter((value) =>
        executorOf(value) === "fastcgi" && poolOf(data["fpm"], value)?.name === name
      );
      return [
        ...checkChildren(pool, ["fpm", name], users),
        ...checkAutoBounds(pool, ["fpm", name], users),
        ...checkPool(pool, ["fpm", name]),
      ];
    }),
    ...tablesIn(data["brokers"]).flatMap(([name, broker]) => {
      const type = types.find(({ driver }) => driver === broker["driver"]);
      return type?.check?.(broker, ["brokers", name]) ?? [];
    }),
  ];
}

interface PlacedConsumer {
  readonly value: Table;
  readonly path: Path;
}

/** The name a consumer has without a key `name`. */
export function defaultConsumerName(queues: readonly string[]): string {
  return queues.join(",");
}

/** At least one table in `group`. */
function checkSome(group: string, data: Table, expected: string): Problem[] {
  const tables = data[group];
  if (tables === undefined) return [missingKey([group], expected)];
  return isTable(tables) && namesIn(tables).length === 0 ? [wrongValue([group], tables, expected)] : [];
}

/** The keys of a consumer that go with one executor only; the first names a table of the group. */
const EXECUTORS: Readonly<Record<string, { readonly keys: readonly [string, ...string[]]; group: string }>> =
  {
    fastcgi: { keys: ["fpm", "ack_on", "payload_param", "batch_size"], group: "fpm" },
    process: { keys: ["process"], group: "processes" },
  };

function checkExecutor(data: Table, consumer: Table, path: Path): Problem[] {
  const executor = executorOf(consumer);
  return Object.entries(EXECUTORS).flatMap(([name, { keys, group }]) => {
    if (name === executor) return checkNamed(keys[0], namesIn(data[group]), group, consumer, path);
    if (executor === undefined) return [];
    return keys.filter((key) => consumer[key] !== undefined).map((key) => ({
      path: [...path, key],
      text: `${key} has no effect with executor = ${show(executor)}: remove it, or set executor = ${
        show(name)
      }`,
    }));
  });
}

/** A batch has one body and one answer for all its jobs. */
function checkBatch(consumer: Table, path: Path): Problem[] {
  const batchSize = consumer["batch_size"];
  if (typeof batchSize !== "number" || batchSize <= 1 || executorOf(consumer) !== "fastcgi") return [];
  const problem = (reason: string, key: string) => ({
    path: [...path, "batch_size"],
    text: `batch_size is ${batchSize}, and ${reason}: set batch_size = 1, or remove ${key}`,
  });
  const { ack_on: ackOn, payload_param: payloadParam = "" } = consumer;
  return [
    ...(ackOn === "status" ? [problem("a status cannot tell of several jobs (ack_on)", "ack_on")] : []),
    ...(payloadParam === ""
      ? []
      : [problem("the payloads of a batch go on STDIN (payload_param)", "payload_param")]),
  ];
}

/** An error can be found only in what is kept of STDERR. */
function checkFatal(data: Table, consumer: Table, path: Path): Problem[] {
  const executor = executorOf(consumer);
  if (consumer["fatal_after_ack"] !== "fail" || executor === undefined) return [];
  const { keys: [key], group } = EXECUTORS[executor]!;
  const table = usedTable(key, data[group], consumer);
  if (table?.table["max_stderr_bytes"] !== 0) return [];
  return [{
    path: [...path, "fatal_after_ack"],
    text: `fatal_after_ack has no effect with max_stderr_bytes = 0 in [${group}.${table.name}]: ` +
      `remove one of them`,
  }];
}

/** Undefined when there is no such executor. */
function executorOf(consumer: Table): string | undefined {
  const executor = consumer["executor"] ?? DEFAULT_EXECUTOR;
  return typeof executor === "string" && Object.hasOwn(EXECUTORS, executor) ? executor : undefined;
}

function checkQueues(consumer: Table, path: Path): Problem[] {
  const problems: Problem[] = [];
  const seen = new Set<string>();
  listOf(consumer["queues"]).forEach((queue, index) => {
    const name = queueNameOf(queue);
    if (name !== undefined && seen.has(name)) {
      problems.push({
        path: [...path, "queues", index],
        text: `queue ${show(name)} is listed twice: remove one`,
      });
    }
    if (name !== undefined) seen.add(name);
    const isWeighted = consumer["order"] === "weighted";
    if (isTable(queue) && queue["weight"] !== undefined && !isWeighted) {
      problems.push({
        path: [...path, "queues", index, "weight"],
        text: 'a weight has no effect in strict order: set order = "weighted", or remove the weight',
      });
    }
  });
  return problems;
}

/** A broker can have narrower rules for the names of queues than others. */
function checkQueueNames(broker: BrokerType | undefined, consumer: Table, path: Path): Problem[] {
  return listOf(consumer["queues"]).flatMap((queue, index) => {
    const name = queueNameOf(queue);
    // Of a name that no queue has, the schema has told.
    if (name === undefined || !/^[A-Za-z0-9._:-]{1,128}$/.test(name)) return [];
    const reason = broker?.whyQueueIsRefused?.(name);
    const place = [...path, "queues", index, ...(isTable(queue) ? ["name"] : [])];
    return reason === undefined ? [] : [{ path: place, text: `queue ${show(name)} ${reason}` }];
  });
}

function checkRetry(consumer: Table, path: Path): Problem[] {
  const retry = isTable(consumer["retry"]) ? consumer["retry"] : {};
  const delayMs = retry["delay_ms"] ?? DEFAULT_RETRY_POLICY.delayMs;
  const maxDelayMs = retry["max_delay_ms"] ?? DEFAULT_RETRY_POLICY.maxDelayMs;
  if (typeof delayMs !== "number" || typeof maxDelayMs !== "number" || delayMs <= maxDelayMs) return [];
  const key = retry["delay_ms"] === undefined ? "max_delay_ms" : "delay_ms";
  return [{
    path: [...path, "retry", key],
    text: `retry.delay_ms (${delayMs}) is more than retry.max_delay_ms (${maxDelayMs}): ` +
      `lower the one or raise the other`,
  }];
}

function checkConsumerNames(consumers: readonly PlacedConsumer[]): Problem[] {
  const taken = new Set<string>();
  return consumers.flatMap(({ value, path }) => {
    const name = consumerNameOf(value);
    if (name === undefined) return [];
    if (!taken.has(name)) {
      taken.add(name);
      return [];
    }
    const what = value["name"] === undefined ? "this consumer's name, made of its queues," : "name";
    return [{
      path: [...path, "name"],
      text: `${what} is ${show(name)} like another consumer's: give each consumer a name of its own`,
    }];
  });
}

function checkPool(pool: Table, path: Path): Problem[] {
  const problems: Problem[] = [];
  const hasStatusPath = (pool["status_path"] ?? "") !== "";
  const maxHeaderBytes = pool["max_header_bytes"] ?? DEFAULT_POOL_OPTIONS.maxHeaderBytes;
  const maxResponseBytes = pool["max_response_bytes"] ?? DEFAULT_POOL_OPTIONS.maxResponseBytes;
  if (
    typeof maxHeaderBytes === "number" && typeof maxResponseBytes === "number" &&
    maxHeaderBytes > maxResponseBytes
  ) {
    const key = pool["max_header_bytes"] === undefined ? "max_response_bytes" : "max_header_bytes";
    problems.push({
      path: [...path, key],
      text: `max_header_bytes (${maxHeaderBytes}) is more than max_response_bytes (${maxResponseBytes}): ` +
        `lower the one or raise the other`,
    });
  }
  if (typeof pool["status_address"] === "string" && pool["status_address"] !== "" && !hasStatusPath) {
    problems.push({
      path: [...path, "status_address"],
      text: "status_address is where the status page answers, and no page is named: set status_path too",
    });
  }
  if (pool["kill_on_timeout"] !== true) return problems;
  if (!hasStatusPath) {
    problems.push({
      path: [...path, "kill_on_timeout"],
      text:
        "kill_on_timeout needs the status page, which tells the PHP process of a job: set pm.status_path in " +
        "php-fpm's pool file, and status_path here",
    });
  }
  if (typeof pool["address"] === "string" && isTcp(pool["address"])) {
    problems.push({
      path: [...path, "kill_on_timeout"],
      text: "kill_on_timeout needs a php-fpm on this machine, and so a unix socket for its address: " +
        'let php-fpm listen on one, or set "kill_on_timeout = false" and rely on request_terminate_timeout',
    });
  }
  return problems;
}

/** False also for what is no address. */
function isTcp(address: string): boolean {
  try {
    return parseAddress(address).transport === "tcp";
  } catch {
    return false;
  }
}

/** A job beyond the pool's children would wait in the listen queue while its time runs. */
function checkChildren(pool: Table, path: Path, users: readonly Table[]): Problem[] {
  const { children } = pool;
  if (typeof children !== "number" || children <= 0) return [];
  const jobs = users.reduce((sum, consumer) => sum + concurrencyOf(consumer), leastOfAuto(pool, users));
  if (jobs <= children) return [];
  const expected =
    `its consumers run up to ${jobs} jobs at once; lower their concurrency to ${children} in all, ` +
    `or raise pm.max_children of php-fpm and this number with it`;
  return [wrongValue([...path, "children"], children, expected)];
}

/** The pool that a consumer uses; undefined when that is not clear, or there is no such table. */
function poolOf(pools: unknown, consumer: Table): { name: string; table: Table } | undefined {
  return usedTable("fpm", pools, consumer);
}

/** 0 for "auto". */
function concurrencyOf(consumer: Table): number {
  const concurrency = consumer["concurrency"] ?? DEFAULT_CONSUMER_OPTIONS.concurrency;
  return typeof concurrency === "number" && concurrency > 0 ? concurrency : 0;
}

function consumerNameOf(consumer: Table): string | undefined {
  const name = consumer["name"];
  if (name !== undefined) return typeof name === "string" ? name : undefined;
  const queues = listOf(consumer["queues"]).map(queueNameOf);
  const isReadable = queues.length > 0 && queues.every((queue) => queue !== undefined);
  return isReadable ? defaultConsumerName(queues) : undefined;
}

function queueNameOf(queue: unknown): string | undefined {
  const name = isTable(queue) ? queue["name"] : queue;
  return typeof name === "string" ? name : undefined;
}
