import { pauseText } from "../../text/pause_text.ts";
import { openBroker } from "../../../app/assembly.ts";
import type { Config } from "../../../config/config.ts";
import { consumedQueues } from "../../../config/options/consumed_queues.ts";
import { isQueueOfOther, sharedStores } from "../../shared_stores.ts";
import { nearest } from "../../../config/problems.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { type QueueDepth, UNKNOWN_DEPTH } from "../../../core/admin.ts";
import type { Broker } from "../../../core/broker.ts";
import type { Finding } from "../../../core/finding.ts";
import { claimedAhead, claimedAheadReason } from "../../../core/schedule_claims.ts";
import { asFervoError } from "../../../core/errors.ts";
import { failure } from "./context.ts";
import { failureQueueNames } from "../../../doctor/messenger_facts.ts";
import type { ScriptAnswers } from "./script_answers.ts";
import { counted } from "../../../core/text/plural.ts";

/** Whether a broker can be used, its own findings, and its queues. */
export async function checkBroker(
  config: Config,
  name: string,
  answers: ScriptAnswers,
): Promise<Finding[]> {
  const id = "broker.reachable";
  const findings: Finding[] = [];
  try {
    await using broker = openBroker(config, name, systemClock);
    const own = await broker.admin.findings?.(consumedQueues(config, name)) ?? [];
    findings.push(...own);
    const isOfOther = isQueueOfOther(config, name);
    const queues = (await broker.admin.queues?.() ?? []).filter((queue) => !isOfOther(queue));
    const reached: Finding = {
      id,
      severity: "ok",
      what: `reached; ${counted(queues.length, "queue")} with jobs`,
    };
    return [
      reached,
      ...findings,
      ...await queueFindings(config, name, { broker, queues, answers }),
      ...await claimFindings(config, name, broker),
    ];
  } catch (error) {
    const { type, settings } = config.brokers.get(name)!;
    const fix = type.fixOf(asFervoError(error), settings, `in [brokers.${name}]:`);
    return [failure(id, error, fix), ...findings];
  }
}

/** Why jobs of a queue wait. */
async function queueFindings(
  config: Config,
  name: string,
  { broker, queues, answers }: {
    readonly broker: Broker;
    readonly queues: readonly string[];
    readonly answers: ScriptAnswers;
  },
): Promise<Finding[]> {
  const consumed = consumedQueues(config, name);
  // In parallel: a broker may count for all callers in the same turn.
  const depths = await Promise.all(
    queues.map(async (queue) => ({ queue, ...await broker.admin.depth?.(queue) ?? UNKNOWN_DEPTH })),
  );
  const paused = (await broker.admin.pauses?.list() ?? []).filter(({ queue }) => consumed.includes(queue));
  const where = config.brokers.size > 1 ? ` --broker ${shellWord(name)}` : "";
  return [
    ...unconsumed(
      depths.filter(({ queue, ready = 0, delayed = 0 }) => !consumed.includes(queue) && ready + delayed > 0),
      consumed,
      config.brokers.get(name)!.type.isShared,
      await failureQueues(config, name, answers),
    ),
    ...paused.map(({ queue, ...pause }): Finding => ({
      id: "queue.paused",
      severity: "warning",
      what: `queue "${queue}" is paused${pauseText(pause)}`,
      why: `no worker takes its jobs until ${pause.untilMs === undefined ? "it is resumed" : "then"}`,
      fix: `fervo-worker resume ${shellWord(queue)}${where}`,
    })),
    ...depths.filter(({ dead = 0 }) => dead > 0).map(({ queue, dead = 0 }): Finding => ({
      id: "queue.dead",
      severity: "notice",
      what: `queue "${queue}" has ${counted(dead, "dead letter")}`,
      fix: `fervo-worker dead list --queue ${shellWord(queue)}${where}`,
    })),
  ];
}

/** Which queues of a broker are failure transports of a framework. */
interface FailureQueues {
  /** False also for one that is not known to be one. */
  has(queue: string): boolean;
  readonly areKnown: boolean;
}

/** Undefined for a broker whose messages are no framework's. */
async function failureQueues(
  config: Config,
  name: string,
  answers: ScriptAnswers,
): Promise<FailureQueues | undefined> {
  const store = sharedStores(config).find((store) => store.name === name);
  if (store === undefined) return undefined;
  const facts = await answers.messengerFacts(name);
  if (facts === undefined) return { has: () => false, areKnown: false };
  const queueNames = failureQueueNames(facts, store.table);
  return { has: (queue) => queueNames.has(store.nameOf(queue)), areKnown: true };
}

/** Schedules with future claims. */
async function claimFindings(config: Config, name: string, broker: Broker): Promise<Finding[]> {
  const findings: Finding[] = [];
  for (const { name: schedule } of config.schedule.filter(({ broker }) => broker === name)) {
    const nowMs = systemClock.nowMs();
    const claims = await broker.admin.schedule?.look(schedule, nowMs);
    const ahead = claims && claimedAhead(claims, nowMs);
    if (ahead === undefined) continue;
    const isAside = ahead.state === "set_aside";
    findings.push({
      id: "schedule.claimed_ahead",
      severity: isAside ? "notice" : "warning",
      what: `schedule "${schedule}": ${claimedAheadReason(ahead)}`,
      ...(!isAside && { why: "its jobs come late, or not at all" }),
      fix: "synchronize the clocks of all machines with workers, such as by NTP" +
        (ahead.state === "claimed" ? "; to start afresh at once, give the schedule another name" : ""),
    });
  }
  return findings;
}

/** At most this many queues without a consumer are reported one by one. */
const MOST_TOLD = 5;

/** Said where a queue may be one. */
const UNLESS_FAILURE =
  "leave a failure transport without a consumer (bin/console messenger:failed:show; check --call-script knows them); else ";

/**
 * Queues with jobs that no consumer takes.
 *
 * @param isShared Workers with other configurations may take jobs from the broker: then a queue is a warning only if its name
 * is almost that of a consumed one.
 * @param failure They wait for a person, and are not reported; undefined where there is no such thing.
 */
function unconsumed(
  all: readonly ({ readonly queue: string } & QueueDepth)[],
  consumed: readonly string[],
  isShared: boolean,
  failure: FailureQueues | undefined,
): Finding[] {
  const queues = all.filter(({ queue }) => failure?.has(queue) !== true);
  // The framework's own workers may take from each table of a framework.
  const isOthersToo = isShared || failure !== undefined;
  const unless = failure?.areKnown === false ? UNLESS_FAILURE : "";
  const common = {
    id: "queue.unconsumed",
    why: "they wait for ever, unless another worker takes them",
  } as const;
  const one = ({ queue, ready = 0, delayed = 0 }: typeof all[number]): Finding => {
    const meant = nearest(queue, consumed);
    return {
      ...common,
      severity: isOthersToo && meant === undefined ? "notice" : "warning",
      what: `queue "${queue}" has ${
        counted(ready + delayed, "job")
      }, and no consumer of this configuration takes them`,
      fix: unless + consumeFix(queue, meant, ", where they are pushed"),
    };
  };
  if (queues.length <= MOST_TOLD) return queues.map(one);
  // Misspelt ones must be visible.
  const isNear = ({ queue }: typeof all[number]) => nearest(queue, consumed) !== undefined;
  const names = queues.filter((queue) => !isNear(queue)).map(({ queue }) => `"${queue}"`);
  const others: Finding = {
    ...common,
    severity: isOthersToo ? "notice" : "warning",
    what: `${names.length} queues have jobs that no consumer of this configuration takes: ` +
      `${names.slice(0, MOST_TOLD).join(", ")}${names.length > MOST_TOLD ? ", …" : ""}`,
    fix: unless + "in [[consumers]]: queues; all are shown by fervo-worker queues",
  };
  return [...queues.filter(isNear).map(one), ...(names.length > 0 ? [others] : [])];
}

function consumeFix(queue: string, meant: string | undefined, where = ""): string {
  const consume = `in [[consumers]]: queues = [… , "${queue}"]`;
  return meant === undefined ? consume : `is "${meant}" meant${where}? Else ${consume}`;
}

/** A foreign name as a single shell word. */
function shellWord(text: string): string {
  return /^[\w.:@%+=/-]+$/.test(text) ? text : `'${text.replaceAll("'", `'\\''`)}'`;
}

/** Schedules whose jobs no consumer takes. */
export function scheduleFindings(
  config: Config,
): readonly (readonly [subject: string, findings: Finding[]])[] {
  return config.schedule.map(({ name, broker, queue }) => {
    const consumed = consumedQueues(config, broker);
    if (consumed.includes(queue)) return [`schedule.${name}`, []] as const;
    const meant = nearest(queue, consumed);
    return [`schedule.${name}`, [{
      id: "schedule.queue",
      severity: "warning",
      what: `it pushes into queue "${queue}", and no consumer of this configuration takes jobs from it`,
      why: "its jobs wait for ever, unless another worker takes them",
      fix: consumeFix(queue, meant),
    }]] as const;
  });
}
