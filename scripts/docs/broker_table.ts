/** What each broker can do, as its type says: the table of docs/brokers/README.md. */
import type { BrokerType, Ownership } from "../../src/brokers/broker_type.ts";
import { BROKER_TYPES } from "../../src/brokers/mod.ts";
import type { Capabilities, DelayRange } from "../../src/core/broker.ts";
import { table } from "./markdown.ts";

const DAY_MS = 86_400_000;

const yes = (value: boolean) => value ? "yes" : "no";

function delays({ maxMs, stepMs }: DelayRange): string {
  if (maxMs === 0) return "none";
  const days = maxMs / DAY_MS;
  const longest = days >= 365
    ? `${Math.floor(days / 365)} years`
    : days >= 1
    ? `${days} days`
    : `${maxMs / 1_000} seconds`;
  const step = stepMs === 1 ? "millisecond" : stepMs === 1_000 ? "second" : `${stepMs} ms`;
  return `to the ${step}, up to ${longest}`;
}

/** What a row says of a capability, for each of its values. */
const ROWS: readonly (readonly [what: string, cell: (capabilities: Capabilities) => string])[] = [
  [
    "the jobs of a worker that died run again",
    ({ lease }) =>
      ({
        timed: "when their lease ends",
        connection: "when its connection has ended, else when its lease has",
      })[
        lease
      ],
  ],
  [
    "that a job's worker was lost is",
    ({ redeliveries }) => ({ counted: "counted", flagged: "known", unknown: "not known" })[redeliveries],
  ],
  ["attempts are known", ({ attempts }) => yes(attempts)],
  ["PHP is told that an earlier run may not have ended", ({ repeats }) => yes(repeats)],
  ["putting a job back costs an attempt", ({ release }) => yes(release === "counted")],
  [
    "putting a job back with a delay, as a job can ask for, costs an attempt",
    ({ delayedRelease }) => yes(delayedRelease === "counted"),
  ],
  [
    "a job that was put back is",
    ({ releasePlace }) => ({ front: "taken next", back: "behind all others" })[releasePlace],
  ],
  [
    "a message replaces another",
    ({ replace }) =>
      ({ "one-step": "at once", "two-step": "in two steps: for a moment both exist" })[replace],
  ],
  [
    "a job that another worker has taken is settled",
    ({ fence }) =>
      ({ token: "by that worker alone", connection: "by that worker alone", none: "by both workers" })[fence],
  ],
  ["orders of several queues", ({ orders }) => orders.join(", ")],
  ["delays of a push", ({ pushDelay }) => delays(pushDelay)],
  ["delays of a retry", ({ retryDelay }) => delays(retryDelay)],
  ["priorities within a queue", ({ priority }) => yes(priority)],
  ["headers and `attempts` beside a job", ({ headers }) => yes(headers)],
  ["`push --unique`: one waiting job with a key", ({ unique }) => yes(unique)],
  [
    "jobs are counted",
    ({ counts }) => ({ exact: "exactly", estimated: "about", none: "not at all" })[counts],
  ],
  ["`jobs` lists jobs that wait and run", ({ jobs }) => yes(jobs)],
  ["dead letters", ({ dead }) =>
    ({
      errors: "with errors and times; keep their ids when they are retried",
      bare: "without errors and times; get new ids when they are retried",
      none: "cannot be listed",
    })[dead]],
  [
    "`pause` of a queue lasts, where no end is given",
    ({ pauses }) =>
      ({
        kept: "until it is resumed",
        loose: "until the broker restarts, or nobody uses the empty queue",
        none: "not possible",
      })[
        pauses
      ],
  ],
  [
    "`pause --for` and `--until`",
    ({ pauses }) => yes(pauses !== "none"),
  ],
  ["`pause --reason`", ({ pauseReasons }) => yes(pauseReasons)],
  ["`purge` of a queue", ({ purge }) => yes(purge)],
  ["`[[schedule]]`", ({ schedule }) => yes(schedule)],
];

const OWNED: Readonly<Record<keyof Ownership, string>> = {
  attempts: "attempts are counted by",
  retry: "whether and when a failed job runs again is decided by",
  dead: "jobs that failed for good are kept by",
};

/** One for all formats, or each with its formats. */
function ownersOf({ formats, ownership }: BrokerType, part: keyof Ownership): string {
  const byOwner = Map.groupBy(Object.keys(formats), (format) => ownership(format)[part]);
  return [...byOwner].map(([owner, names]) =>
    byOwner.size === 1 ? `the ${owner}` : `the ${owner} (${names.map((name) => `\`${name}\``).join(", ")})`
  ).join("; ");
}

function rowsOf(types: readonly BrokerType[]): string[][] {
  return [
    ...ROWS.map(([what, cell]) => [what, ...types.map(({ capabilities }) => cell(capabilities))]),
    ...(["attempts", "retry", "dead"] as const).map((part) => [
      OWNED[part],
      ...types.map((type) => ownersOf(type, part)),
    ]),
    ["workers", ...types.map(({ isShared }) => isShared ? "on many machines" : "on one machine")],
    [
      "`format`, the default first",
      ...types.map(({ formats, defaultFormat }) =>
        [defaultFormat, ...Object.keys(formats).filter((name) => name !== defaultFormat)].map((name) =>
          `\`${name}\``
        ).join(", ")
      ),
    ],
  ];
}

/** The format is named where another one of the driver has a column before it. */
function titleOf({ driver, defaultFormat }: BrokerType, index: number): string {
  const isFirst = BROKER_TYPES.findIndex((type) => type.driver === driver) === index;
  return isFirst ? `\`${driver}\`` : `\`${driver}\`, \`${defaultFormat}\``;
}

export function brokerTable(): string {
  return table(["", ...BROKER_TYPES.map(titleOf)], rowsOf(BROKER_TYPES));
}
