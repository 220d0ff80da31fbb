/**
 * The table of docs/operations.md that says what brokers can do is what their types say. With UPDATE_DOCS=1, and the right to write,
 * it is written anew.
 */
import assert from "node:assert/strict";
import { readFileSync, writeFileSync } from "node:fs";
import process from "node:process";
import type { BrokerType, Ownership } from "../../../src/brokers/broker_type.ts";
import { BROKER_TYPES } from "../../../src/brokers/mod.ts";
import type { Capabilities, DelayRange } from "../../../src/core/broker.ts";

const DOCUMENT = new URL("../../../docs/operations.md", import.meta.url);
const BEGIN = "<!-- What brokers can do, by their types: UPDATE_DOCS=1 writes it. -->";
const END = "<!-- The end of what brokers can do. -->";
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
    "jobs of a worker that is gone run again",
    ({ lease }) =>
      ({ timed: "when their lease ends", connection: "when its connection, or its sign of life, is gone" })[
        lease
      ],
  ],
  [
    "that a worker was lost with the job is",
    ({ redeliveries }) => ({ counted: "counted", flagged: "known", unknown: "not known" })[redeliveries],
  ],
  ["attempts are known", ({ attempts }) => yes(attempts)],
  ["PHP is told that a former run may not have ended", ({ repeats }) => yes(repeats)],
  ["putting a job back costs an attempt", ({ release }) => yes(release === "counted")],
  ["the same with a delay, as a job can ask for", ({ delayedRelease }) => yes(delayedRelease === "counted")],
  [
    "a job that was put back is",
    ({ releasePlace }) => ({ front: "taken next", back: "behind all others" })[releasePlace],
  ],
  [
    "a message takes the place of another",
    ({ replace }) =>
      ({ "one-step": "at once", "two-step": "in two steps: for a moment both are there" })[replace],
  ],
  [
    "a job that another worker has by now is settled",
    ({ fence }) => ({ token: "by that one alone", connection: "by that one alone", none: "by both" })[fence],
  ],
  ["orders of several queues", ({ orders }) => orders.join(", ")],
  ["delays of a push", ({ pushDelay }) => delays(pushDelay)],
  ["delays of a retry", ({ retryDelay }) => delays(retryDelay)],
  ["priorities within a queue", ({ priority }) => yes(priority)],
  ["headers and `attempts` beside a job", ({ headers }) => yes(headers)],
  [
    "jobs are counted",
    ({ counts }) => ({ exact: "exactly", estimated: "about", none: "not at all" })[counts],
  ],
  ["`jobs` lists what waits and runs", ({ jobs }) => yes(jobs)],
  ["dead letters", ({ dead }) =>
    ({
      errors: "with errors and times; keep their ids when they are retried",
      bare: "without errors and times; get new ids when they are retried",
      none: "cannot be looked at",
    })[dead]],
  [
    "`pause` of a queue lasts, where no end is given",
    ({ pauses }) =>
      ({
        kept: "until it is resumed",
        loose: "until the broker restarts, or nobody uses the empty queue",
        none: "cannot be had",
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
  retry: "whether and when a failed job runs again is said by",
  dead: "jobs that failed for good are kept by",
};

/** One for all formats, or each with its formats. */
function ownersOf({ formats, ownership }: BrokerType, part: keyof Ownership): string {
  const byOwner = Map.groupBy(Object.keys(formats), (format) => ownership(format)[part]);
  return [...byOwner].map(([owner, names]) =>
    byOwner.size === 1 ? `the ${owner}` : `the ${owner} (${names.map((name) => `\`${name}\``).join(", ")})`
  ).join("; ");
}

function cellsOf(types: readonly BrokerType[]): string[][] {
  return [
    ["", ...types.map(({ driver }) => `\`${driver}\``)],
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

/** The cells of a Markdown table, without the line below its head. */
function tableOf(text: string): string[][] {
  return text.trim().split("\n").map((line) => line.split("|").slice(1, -1).map((cell) => cell.trim()))
    .filter((_row, index) => index !== 1);
}

function markdown([head, ...rows]: string[][]): string {
  const line = (cells: readonly string[]) => `| ${cells.join(" | ")} |`;
  return [line(head!), line(head!.map(() => "---")), ...rows.map(line)].join("\n");
}

Deno.test("docs/operations.md says what brokers can do as their types say it", () => {
  const document = readFileSync(DOCUMENT, "utf8");
  const [before, rest] = document.split(BEGIN);
  const [table, after] = rest!.split(END);
  const cells = cellsOf(BROKER_TYPES);
  if (process.env.UPDATE_DOCS === "1") {
    writeFileSync(DOCUMENT, `${before}${BEGIN}\n\n${markdown(cells)}\n\n${END}${after}`);
    return;
  }
  assert.deepEqual(
    tableOf(table!),
    cells,
    "write it with: UPDATE_DOCS=1 deno test -A tests/unit/brokers/capability_table_test.ts",
  );
});
