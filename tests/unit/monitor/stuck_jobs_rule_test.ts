import assert from "node:assert/strict";
import { isLasting, STUCK_MS, type StuckJobs } from "../../../src/core/stuck_jobs.ts";
import { StuckJobsRule } from "../../../src/monitor/stuck_jobs_rule.ts";

const LOOK_MS = 5_000;
/** As many looks as it takes to tell: the first has none before it to compare with. */
const ENOUGH = STUCK_MS / LOOK_MS + 2;

/** What is seen at a look of a consumer "main" of the queues "a" and "b", and of its broker "redis". */
interface Seen {
  readonly canTake?: boolean;
  readonly taken?: number;
  readonly ready?: Readonly<Record<string, number>>;
  readonly paused?: readonly string[];
  readonly there?: number | undefined;
  readonly here?: number;
  readonly isAway?: boolean;
}

const CALM: Required<Seen> = {
  canTake: true,
  taken: 7,
  ready: {},
  paused: [],
  there: 2,
  here: 2,
  isAway: false,
};

/** What is stuck after these looks. */
function after(looks: readonly Seen[]): StuckJobs[] {
  const rule = new StuckJobsRule();
  return looks.map((seen, at) => {
    const { canTake, taken, ready, paused, there, here, isAway } = { ...CALM, ...seen };
    const counts = {
      ready: new Map(Object.entries(ready)),
      paused,
      inFlightThere: there,
      inFlightHere: here,
    };
    const consumers = [{ name: "main", queues: ["a", "b"], canTake, taken }];
    return rule.look([{ name: "redis", consumers, counts: isAway ? undefined : counts }], at * LOOK_MS);
  }).at(-1)!;
}

const times = (count: number, seen: (at: number) => Seen): Seen[] =>
  Array.from({ length: count }, (_, at) => seen(at));
const READY: Seen = { ready: { a: 3 } };

const CASES: readonly [claim: string, looks: readonly Seen[], stuck: string][] = [
  ["nothing while all is calm", times(ENOUGH, () => ({})), ""],
  ["starved: jobs are ready, slots free, and none is taken", times(ENOUGH, () => READY), "starved 3 in a"],
  [
    "starved: in any of the queues",
    times(ENOUGH, (at) => ({ ready: { a: at % 2, b: 4 } })),
    "starved 5 in a,b",
  ],
  [
    "starved: in those that are not paused",
    times(ENOUGH, () => ({ ready: { a: 3, b: 1 }, paused: ["a"] })),
    "starved 1 in b",
  ],
  ["nothing yet a moment before", times(ENOUGH - 1, () => READY), ""],
  ["nothing while jobs are taken, one in a while", times(ENOUGH, (at) => ({ ...READY, taken: at >> 2 })), ""],
  ["nothing when one was taken last", [...times(ENOUGH, () => READY), { ...READY, taken: 8 }], ""],
  [
    "nothing when no job was ready at one look",
    times(ENOUGH, (at) => at === 3 ? { ready: { a: 0 } } : READY),
    "",
  ],
  [
    "nothing when another worker takes them, so that there is none now and then",
    times(20 * ENOUGH, (at) => ({ ready: { a: at % 5 === 0 ? 0 : 100 } })),
    "",
  ],
  [
    "nothing for a consumer that is quiet, backing off, rate-limited or has no free slot",
    times(ENOUGH, () => ({ ...READY, canTake: false })),
    "",
  ],
  ["nothing when it was so at one look", times(ENOUGH, (at) => ({ ...READY, canTake: at !== 4 })), ""],
  ["nothing while the queue is paused", times(ENOUGH, () => ({ ...READY, paused: ["a"] })), ""],
  ["nothing when it was paused until a moment ago", [
    ...times(ENOUGH, () => ({ ...READY, paused: ["a"] })),
    READY,
    READY,
  ], ""],
  ["nothing while the broker is away", times(ENOUGH, () => ({ ...READY, there: 9, isAway: true })), ""],
  ["nothing when it was away at one look", times(ENOUGH, (at) => ({ ...READY, isAway: at === 5 })), ""],
  [
    "orphaned: the broker counts more in flight than are here",
    times(ENOUGH, () => ({ there: 4 })),
    "orphaned 2",
  ],
  [
    "orphaned: also while others come and go, and then the least of the differences",
    times(ENOUGH, (at) => ({ there: 5 + at, here: 2 + at - at % 2, taken: at })),
    "orphaned 3",
  ],
  [
    "orphaned and starved at the same time",
    times(ENOUGH, () => ({ ...READY, there: 3 })),
    "starved 3 in a; orphaned 1",
  ],
  [
    "nothing when a job was on its way at a look",
    times(ENOUGH, (at) => ({ there: at === 2 ? 3 : 2, taken: at })),
    "",
  ],
  ["nothing when the counts agreed once", times(ENOUGH, (at) => ({ there: at === 6 ? 2 : 3 })), ""],
  [
    "nothing when there are more here, such as jobs whose settle is under way",
    times(ENOUGH, () => ({ there: 0, here: 2 })),
    "",
  ],
  [
    "nothing of a broker that does not know who has which job",
    times(ENOUGH, () => ({ there: undefined })),
    "",
  ],
];

for (const [claim, looks, stuck] of CASES) {
  Deno.test(`StuckJobsRule finds ${claim}`, { permissions: "none" }, () => {
    const found = after(looks).filter(isLasting).map((one) =>
      one.kind === "starved" ? `starved ${one.jobs} in ${one.queues}` : `orphaned ${one.jobs}`
    );
    assert.equal(found.join("; "), stuck);
  });
}

Deno.test(
  "StuckJobsRule tells since when, of each consumer and broker by itself",
  { permissions: "none" },
  () => {
    const rule = new StuckJobsRule();
    const look = (atMs: number, taken: readonly [number, number]) =>
      rule.look(
        [
          {
            name: "one",
            consumers: taken.map((taken, i) => ({ name: `c${i}`, queues: ["q"], canTake: true, taken })),
            counts: { ready: new Map([["q", 1]]), paused: [], inFlightThere: 1, inFlightHere: 0 },
          },
          { name: "two", consumers: [], counts: undefined },
        ],
        atMs,
      );
    look(1_000, [0, 0]);
    look(6_000, [0, 0]);
    const stuck = { broker: "one", queues: ["q"], jobs: 1 };
    assert.deepEqual(look(11_000, [0, 1]), [
      { kind: "starved", consumer: "c0", forMs: 5_000, ...stuck },
      { kind: "orphaned", broker: "one", jobs: 1, forMs: 10_000 },
    ]);
    assert.deepEqual(look(16_000, [0, 1]).map(({ forMs }) => forMs), [10_000, 0, 15_000]);
  },
);

Deno.test("StuckJobsRule.suspects() are those only that could take a job and took none", {
  permissions: "none",
}, () => {
  const rule = new StuckJobsRule();
  const observation = (name: string, canTake: boolean, taken: number) => ({
    name,
    queues: ["q"],
    canTake,
    taken,
  });
  const first = [observation("idle", true, 1), observation("busy", true, 1), observation("full", false, 1)];
  assert.deepEqual(rule.suspects(first), [], "nothing is known of what they took before");
  rule.look([{ name: "one", consumers: first, counts: undefined }], 0);
  const second = [
    observation("idle", true, 1),
    observation("busy", true, 2),
    observation("full", false, 1),
    observation("new", true, 0),
  ];
  assert.deepEqual(rule.suspects(second).map(({ name }) => name), ["idle"]);
});
