/** Where fervo-worker and messenger:consume differ, as data: a difference that is not here fails the conformance test. */
import type { Known, KnownDifference } from "./comparison.ts";

const TRANSPORTS = [["php", "default"], ["json", "json_tasks"]] as const;

/** PHP dies of these, each time. */
const DEADLY = ["task-exit", "task-fatal-error", "task-memory", "signed-exit"] as const;
const UNDECODABLE = ["task-garbage", "task-class-gone"] as const;

const NO_OUTCOME = "JOB_NO_OUTCOME: The script ended without an outcome: …";
const TOO_LONG = "JOB_TIMEOUT: The job took longer than timeout_ms = 1500 allows";

/** @param version The application's Symfony, as "5.4". */
export function knownDifferences(version: string): Known[] {
  return [
    ...TRANSPORTS.flatMap(([transport, queue]) => [
      ...DEADLY.flatMap((kind) => deadly(kind, transport, queue)),
      ...runsTooLong(transport, queue),
      diesOnce(transport, queue),
      ...UNDECODABLE.map((kind) => undecodable(kind, transport, queue)),
    ]),
    ...(version === "5.4" ? [ID_OF_EACH_TRY] : []),
  ];
}

function deadly(kind: string, transport: string, queue: string): KnownDifference[] {
  const of = `${kind}-${transport}`;
  const because =
    "messenger:consume dies with PHP and counts nothing: the message comes back each redeliver_timeout, without " +
    "end. fervo-worker reports the death to the application, which counts it as a failure.";
  return [
    {
      of,
      where: "inserted",
      theirs: [sent(queue)],
      ours: [sent(queue), ...retries(queue, NO_OUTCOME), failed(transport)],
      because,
    },
    { of, where: "left", theirs: [`${sent(queue)}, delivered`], ours: [failed(transport)], because },
    { of, where: "shown", theirs: [], ours: shown(transport, NO_OUTCOME), because },
  ];
}

function diesOnce(transport: string, queue: string): KnownDifference {
  return {
    of: `task-exit-once-${transport}`,
    where: "inserted",
    theirs: [sent(queue)],
    ours: [sent(queue), retries(queue, NO_OUTCOME)[0]!],
    because:
      "messenger:consume dies, and the same message comes back after redeliver_timeout, an hour. fervo-worker has the " +
      "application retry it after the delay of its retry strategy.",
  };
}

function runsTooLong(transport: string, queue: string): KnownDifference[] {
  const of = `task-runs-too-long-${transport}`;
  const because = "messenger:consume has no limit of time.";
  return [
    {
      of,
      where: "inserted",
      theirs: [sent(queue)],
      ours: [sent(queue), ...retries(queue, TOO_LONG), failed(transport)],
      because,
    },
    {
      of,
      where: "runs",
      theirs: ["DoTask begins", "DoTask ends"],
      ours: Array(3).fill("DoTask begins"),
      because,
    },
    { of, where: "left", theirs: [], ours: [failed(transport)], because },
    { of, where: "shown", theirs: [], ours: shown(transport, TOO_LONG), because },
  ];
}

function undecodable(kind: string, transport: string, queue: string): KnownDifference {
  return {
    of: `${kind}-${transport}`,
    where: "left",
    theirs: [],
    ours: [`${queue}__fervo_dead, …`],
    because:
      "messenger:consume deletes what it cannot decode, and dies. fervo-worker keeps its bytes as a dead letter.",
  };
}

const ID_OF_EACH_TRY: Known = {
  traces:
    /, TransportMessageIdStamp\(id\)| X-Message-Stamp-Symfony\\Component\\Messenger\\Stamp\\TransportMessageIdStamp/g,
  because:
    "Symfony 5.4 adds the id of each try to the ids of the tries before. fervo-worker has the last one only, as later " +
    "versions of Symfony.",
};

/** The row of the producer. */
function sent(queue: string): string {
  return `${queue}, in time, …, BusNameStamp(busName: "messenger.bus.default")…`;
}

function retries(queue: string, error: string): string[] {
  return [[1, 1_000], [2, 2_000]].map(([count, delay]) =>
    `${queue}, in time, …\\\\JobCrashed", exceptionCode: 0, exceptionMessage: "${error}"…, DelayStamp(delay: ${delay})…, ` +
    `RedeliveryStamp(…retryCount: ${count}…)…`
  );
}

function failed(transport: string): string {
  return `failed, in time, …, DelayStamp(delay: 0)…, SentToFailureTransportStamp(originalReceiverName: "${transport}")`;
}

function shown(transport: string, error: string): string[] {
  return [
    "There are N messages pending in the failure transport.",
    "⋮",
    "Failed at TIME",
    `Error ${error}`,
    "Error Code 0",
    "Error Class Fervo\\DeferredEventBundle\\Messenger\\JobCrashed",
    `Transport ${transport}`,
    "⋮",
    '…name: "NAME"',
    "⋮",
    `message: "${error}"`,
    "code: 0",
    `file: "fervo-worker (${error})"`,
    "⋮",
  ];
}
