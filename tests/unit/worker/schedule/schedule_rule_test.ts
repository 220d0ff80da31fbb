import assert from "node:assert/strict";
import fc from "fast-check";
import {
  createRule,
  isTimeZone,
  type ScheduleRuleOptions,
  whyCronIsRefused,
} from "../../../../src/worker/schedule/schedule_rule.ts";

const BERLIN = "Europe/Berlin";

/** The due times after a moment, as ISO texts in UTC. */
function next(options: ScheduleRuleOptions, after: string, count: number): string[] {
  const rule = createRule(options);
  const times: string[] = [];
  for (let ms = Date.parse(after); times.length < count;) {
    ms = rule.nextAfter(ms)!;
    times.push(new Date(ms).toISOString().replace(/:00\.000Z$/, "Z"));
  }
  return times;
}

const CASES: readonly [claim: string, options: ScheduleRuleOptions, after: string, times: string[]][] = [
  ["a time of day, in a zone", { cron: "30 2 * * *", timeZone: BERLIN }, "2026-01-31T12:00Z", [
    "2026-02-01T01:30Z",
    "2026-02-02T01:30Z",
  ]],
  ["seconds, with six fields", { cron: "*/30 * * * * *", timeZone: "UTC" }, "2026-01-31T23:59:10Z", [
    "2026-01-31T23:59:30.000Z",
    "2026-02-01T00:00Z",
  ]],
  ["a day of the month or of the week", { cron: "0 0 13 * 5", timeZone: "UTC" }, "2026-01-08T12:00Z", [
    "2026-01-09T00:00Z",
    "2026-01-13T00:00Z",
    "2026-01-16T00:00Z",
  ]],
  ["the last day of a month", { cron: "0 0 L * *", timeZone: "UTC" }, "2028-02-01T00:00Z", [
    "2028-02-29T00:00Z",
    "2028-03-31T00:00Z",
  ]],
  // The clocks go from 02:00 to 03:00 (01:00 UTC) on 29 March 2026 ...
  [
    "a time that the spring leaves out: due at the change",
    { cron: "30 2 * * *", timeZone: BERLIN },
    "2026-03-28T12:00Z",
    ["2026-03-29T01:00Z", "2026-03-30T00:30Z"],
  ],
  [
    "every hour in spring: no hour more or less",
    { cron: "0 * * * *", timeZone: BERLIN },
    "2026-03-28T23:30Z",
    ["2026-03-29T00:00Z", "2026-03-29T01:00Z", "2026-03-29T02:00Z"],
  ],
  [
    "several minutes of an hour that the spring leaves out: none of them",
    {
      cron: "*/20 2 * * *",
      timeZone: BERLIN,
    },
    "2026-03-28T12:00Z",
    ["2026-03-30T00:00Z", "2026-03-30T00:20Z", "2026-03-30T00:40Z"],
  ],
  // ... and from 03:00 back to 02:00 (01:00 UTC) on 25 October 2026.
  [
    "a time that comes twice in autumn: due the first time",
    { cron: "30 2 * * *", timeZone: BERLIN },
    "2026-10-24T12:00Z",
    ["2026-10-25T00:30Z", "2026-10-26T01:30Z"],
  ],
  [
    "every hour in autumn: no hour more or less",
    { cron: "0 * * * *", timeZone: BERLIN },
    "2026-10-24T23:30Z",
    ["2026-10-25T00:00Z", "2026-10-25T01:00Z", "2026-10-25T02:00Z"],
  ],
  [
    "several minutes of an hour that comes twice: all of them",
    { cron: "*/30 2 * * *", timeZone: BERLIN },
    "2026-10-24T12:00Z",
    ["2026-10-25T00:00Z", "2026-10-25T00:30Z", "2026-10-25T01:00Z", "2026-10-25T01:30Z", "2026-10-26T01:00Z"],
  ],
  // Times with a list, a range or a step of hours are fixed ones, too.
  [
    "a list of hours of which the spring leaves one out: due at the change",
    { cron: "30 1,2 * * *", timeZone: BERLIN },
    "2026-03-28T12:00Z",
    ["2026-03-29T00:30Z", "2026-03-29T01:00Z", "2026-03-29T23:30Z"],
  ],
  [
    "a list of hours of which the spring leaves one out, and the next one comes at once: one time",
    { cron: "0 2,3 * * *", timeZone: BERLIN },
    "2026-03-28T12:00Z",
    ["2026-03-29T01:00Z", "2026-03-30T00:00Z", "2026-03-30T01:00Z"],
  ],
  [
    "every second hour in spring: the one that is left out is due at the change",
    { cron: "0 */2 * * *", timeZone: BERLIN },
    "2026-03-28T22:30Z",
    ["2026-03-28T23:00Z", "2026-03-29T01:00Z", "2026-03-29T02:00Z"],
  ],
  [
    "a range of hours in autumn: each once",
    { cron: "0 2-3 * * *", timeZone: BERLIN },
    "2026-10-24T12:00Z",
    ["2026-10-25T00:00Z", "2026-10-25T02:00Z", "2026-10-26T01:00Z"],
  ],
  [
    "every second hour in autumn: each once",
    { cron: "0 */2 * * *", timeZone: BERLIN },
    "2026-10-24T21:30Z",
    ["2026-10-24T22:00Z", "2026-10-25T00:00Z", "2026-10-25T03:00Z"],
  ],
  [
    "several fixed minutes of an hour that comes twice: each once",
    { cron: "0,30 2 * * *", timeZone: BERLIN },
    "2026-10-24T12:00Z",
    ["2026-10-25T00:00Z", "2026-10-25T00:30Z", "2026-10-26T01:00Z"],
  ],
  [
    "several fixed minutes of an hour that is left out: one time, at the change",
    { cron: "0,30 2 * * *", timeZone: BERLIN },
    "2026-03-28T12:00Z",
    ["2026-03-29T01:00Z", "2026-03-30T00:00Z", "2026-03-30T00:30Z"],
  ],
  // Lord Howe Island goes back by half an hour, at 02:00 (15:00 UTC) on 4 April 2026.
  [
    "a clock that is set back by half an hour: each time once",
    { cron: "45 1 * * *", timeZone: "Australia/Lord_Howe" },
    "2026-04-03T20:00Z",
    ["2026-04-04T14:45Z", "2026-04-05T15:15Z"],
  ],
  // Samoa had no 30 December 2011.
  [
    "a day that is left out: its times are one, at the change",
    { cron: "0 9 * * *", timeZone: "Pacific/Apia" },
    "2011-12-29T00:00Z",
    ["2011-12-29T19:00Z", "2011-12-30T10:00Z", "2011-12-30T19:00Z"],
  ],
  ["a zone without such changes", { cron: "30 2 * * *", timeZone: "UTC" }, "2026-03-28T12:00Z", [
    "2026-03-29T02:30Z",
    "2026-03-30T02:30Z",
  ]],
  ["every so often: multiples since 1970", { everyMs: 3_600_000 }, "2026-01-31T12:00Z", [
    "2026-01-31T13:00Z",
    "2026-01-31T14:00Z",
  ]],
];

for (const [claim, options, after, times] of CASES) {
  Deno.test(`createRule() knows ${claim}`, () => assert.deepEqual(next(options, after, times.length), times));
}

Deno.test("nextAfter() and latestUntil() tell the same times, forwards and backwards", () => {
  const rules: ScheduleRuleOptions[] = [
    ...["* * * * *", "30 2 * * *", "0 */3 * * *", "*/20 1-3 * * 0,6", "*/7 * * * * *", "0 0 1 * *"]
      .flatMap((cron) =>
        [BERLIN, "UTC", "America/New_York", "Australia/Lord_Howe"]
          .map((timeZone) => ({ cron, timeZone }))
      ),
    { everyMs: 1_000 },
    { everyMs: 86_400_000 },
  ];
  // Around both changes of the clocks, and at other times.
  const around = ["2026-03-29T01:00Z", "2026-10-25T01:00Z", "2026-11-01T06:00Z", "2026-10-03T15:30Z"];
  const moment = fc.tuple(fc.constantFrom(...around), fc.integer({ min: -5 * 3_600_000, max: 5 * 3_600_000 }))
    .map(([at, offsetMs]) => Date.parse(at) + offsetMs);
  fc.assert(
    fc.property(fc.constantFrom(...rules), moment, fc.integer({ min: 1, max: 5 }), (options, ms, count) => {
      const rule = createRule(options);
      const latest = rule.latestUntil(ms, count);
      assert.equal(latest.length, count);
      assert.ok(latest.at(-1)! <= ms);
      assert.ok(rule.nextAfter(ms)! > ms);
      const forwards = [latest[0]!];
      while (forwards.length <= count) forwards.push(rule.nextAfter(forwards.at(-1)!)!);
      assert.deepEqual(forwards.slice(0, count), latest);
      assert.ok(forwards.at(-1)! > ms, "the one after the latest is still to come");
      assert.equal(forwards.at(-1), rule.nextAfter(ms));
    }),
    { numRuns: 500 },
  );
});

Deno.test("latestUntil() includes a time that is now", () => {
  const noon = Date.UTC(2026, 0, 31, 12);
  for (const options of [{ cron: "0 * * * *", timeZone: "UTC" }, { everyMs: 3_600_000 }]) {
    const rule = createRule(options);
    assert.deepEqual(rule.latestUntil(noon, 2), [noon - 3_600_000, noon]);
    assert.deepEqual(rule.latestUntil(noon - 1, 1), [noon - 3_600_000]);
    assert.deepEqual(rule.latestUntil(noon + 999, 1), [noon]);
  }
});

Deno.test("Rules that differ have different texts", () => {
  const texts = [
    { cron: "0 * * * *", timeZone: "UTC" },
    { cron: "0 * * * *", timeZone: BERLIN },
    { cron: "1 * * * *", timeZone: "UTC" },
    { everyMs: 60_000 },
    { everyMs: 60_001 },
  ].map((options) => createRule(options).text);
  assert.equal(new Set(texts).size, texts.length);
});

Deno.test("whyCronIsRefused() names what is wrong, and takes what is right", () => {
  for (const cron of ["* * * * *", "0 0 * * MON#2", "0 0 29 2 *", "@daily", "*/5 * * * * *"]) {
    assert.equal(whyCronIsRefused(cron), undefined, cron);
  }
  assert.match(whyCronIsRefused("61 * * * *")!, /^Invalid value for minute: 61$/);
  assert.match(whyCronIsRefused("* * * *")!, /five, six, or seven space separated parts|5 or 6 parts/);
  assert.match(whyCronIsRefused("0 0 1 1 * * 2020")!, /5 or 6 parts/);
  assert.equal(whyCronIsRefused("0 0 31 2 *"), "it is never due: there is no such day");
  assert.notEqual(whyCronIsRefused(""), undefined);
});

Deno.test("isTimeZone() knows the IANA names", () => {
  for (const name of [BERLIN, "UTC", "America/Argentina/Ushuaia"]) assert.equal(isTimeZone(name), true, name);
  for (const name of ["", "Mars/Base", "+02:00", "Europe/Berlin "]) {
    assert.equal(isTimeZone(name), false, name);
  }
});
