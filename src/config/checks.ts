import { DEFAULT_RETRY_POLICY } from "../core/retry.ts";
import { DEFAULT_CONSUMER_OPTIONS } from "../worker/consumer.ts";
import {
  anyOf,
  isTable,
  missingKey,
  nameOf,
  nearest,
  type Path,
  type Problem,
  show,
  wrongValue,
} from "./problems.ts";

/**
 * What the schema cannot see: how the values of several keys fit together.
 *
 * It reads the file's raw values, for all problems are told at once, and a file that the schema refuses may have these
 * too. So it passes over what it cannot read; the schema has reported that.
 */
export function checkReferences(data: unknown): Problem[] {
  if (!isTable(data)) return [];
  const consumers = listOf(data["consumers"]).map((value, index) => ({
    value: isTable(value) ? value : {},
    path: ["consumers", index],
  }));
  return [
    ...consumers.flatMap(({ value, path }) => [
      ...checkNamed("broker", namesIn(data["brokers"]), "brokers", value, path),
      ...checkNamed("fpm", namesIn(data["fpm"]), "fpm", value, path),
      ...checkQueues(value, path),
      ...checkRetry(value, path),
    ]),
    ...checkConsumerNames(consumers),
    ...checkChildren(data["fpm"], consumers.map((consumer) => consumer.value)),
  ];
}

type Table = Readonly<Record<string, unknown>>;

interface PlacedConsumer {
  readonly value: Table;
  readonly path: Path;
}

/** The name a consumer has without a key `name`. */
export function defaultConsumerName(queues: readonly string[]): string {
  return queues.join(",");
}

/** `key` names one of the tables in `group`; it may be left out where there is only one. */
function checkNamed(
  key: string,
  names: readonly string[],
  group: string,
  consumer: Table,
  path: Path,
): Problem[] {
  if (names.length === 0) return [];
  const name = consumer[key];
  if (name === undefined) {
    return names.length === 1 ? [] : [missingKey([...path, key], `expected ${anyOf(names)}`)];
  }
  if (typeof name !== "string" || names.includes(name)) return [];
  const near = nearest(name, names);
  const advice = near === undefined ? `expected ${anyOf(names)}` : `did you mean "${near}"?`;
  return [wrongValue([...path, key], name, `there is no [${nameOf([group, name])}]; ${advice}`)];
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

/** A job beyond the pool's children would wait in the listen queue while its time runs. */
function checkChildren(pools: unknown, consumers: readonly Table[]): Problem[] {
  if (!isTable(pools)) return [];
  const [onlyPool, ...otherPools] = namesIn(pools);
  return Object.entries(pools).flatMap(([pool, settings]) => {
    const children = isTable(settings) ? settings["children"] : undefined;
    if (typeof children !== "number" || children <= 0) return [];
    const users = consumers.filter((consumer) =>
      (consumer["fpm"] ?? (otherPools.length === 0 ? onlyPool : undefined)) === pool
    );
    const jobs = users.reduce((sum, consumer) => sum + concurrencyOf(consumer), 0);
    if (jobs <= children) return [];
    const expected =
      `its consumers run up to ${jobs} jobs at once; lower their concurrency to ${children} in all, ` +
      `or raise pm.max_children of php-fpm and this number with it`;
    return [wrongValue(["fpm", pool, "children"], children, expected)];
  });
}

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

function namesIn(tables: unknown): readonly string[] {
  if (!isTable(tables)) return [];
  // zod drops this one key from records, without a word.
  return Object.keys(tables).filter((name) => name !== "__proto__");
}

function listOf(value: unknown): readonly unknown[] {
  return Array.isArray(value) ? value : [];
}
