import assert from "node:assert/strict";
import { parseConfig } from "../../../../src/config/load.ts";
import {
  BEANSTALKD,
  BROKER,
  CONSUMER,
  FPM,
  NO_ENVIRONMENT,
  problemsIn,
  REDIS,
  SCHEDULE,
  SCHEDULING_DRIVER,
} from "../support.ts";

/** The schedule's header stands in line 9. */
const BASE = `${BROKER}${FPM}${CONSUMER}`;
/** And here in line 8. */
const REDIS_BASE = `${REDIS}${FPM}${CONSUMER}`;
const NAMED = '[[schedule]]\nname = "a"\nqueue = "q"\n';

const cases: [claim: string, text: string, problems: string[]][] = [
  ["no keys", `${BASE}[[schedule]]\n`, [
    '9:1: missing key "name" in [[schedule]]: expected 1 to 64 characters of A-Z a-z 0-9 . _ -',
    '9:1: missing key "queue" in [[schedule]]: expected a queue\'s name, 1 to 128 characters of A-Z a-z 0-9 . _ : -, ' +
    'such as "mail"',
    '9:1: missing key "cron" in [[schedule]]: set cron, such as cron = "30 2 * * *", or every_ms, such as every_ms = 60000',
  ]],
  ["one bracket", `${BASE}[schedule]\nname = "a"\n`, [
    "9:1: schedule is a table: expected a list of schedules: begin a table [[schedule]], with two brackets",
  ]],
  ["a wrong cron expression", `${BASE}${NAMED}cron = "61 * * * *"\n`, [
    '12:1: cron is "61 * * * *": Invalid value for minute: 61',
  ]],
  ["a day that never comes", `${BASE}${NAMED}cron = "0 0 31 2 *"\n`, [
    '12:1: cron is "0 0 31 2 *": it is never due: there is no such day',
  ]],
  ["a zone that there is not", `${BASE}${SCHEDULE}time_zone = "Mars/Base"\n`, [
    '13:1: time_zone is "Mars/Base": expected the name of a time zone, such as "Europe/Stockholm" or "UTC"',
  ]],
  ["both cron and every_ms", `${BASE}${SCHEDULE}every_ms = 5000\n`, [
    "13:1: set either cron or every_ms, not both",
  ]],
  ["a zone with every_ms", `${BASE}${NAMED}every_ms = 5000\ntime_zone = "UTC"\n`, [
    "13:1: time_zone has no effect with every_ms, which counts from 1970: remove it, or use cron",
  ]],
  ["too often", `${BASE}${NAMED}every_ms = 999\n`, [
    "12:1: every_ms is 999: expected a whole number from 1000 to 31536000000",
  ]],
  ["wrong values", `${BASE}${SCHEDULE}catch_up = "some"\npriority = 1.5\nattempts = -1\npayload = 5\n`, [
    '13:1: catch_up is "some": expected "skip", "one" or "all"',
    "14:1: priority is 1.5: expected a whole number",
    "15:1: attempts is -1: expected a whole number of at least 0",
    "16:1: payload is 5: expected a text",
  ]],
  ["a misspelt key", `${BASE}${SCHEDULE}timezone = "UTC"\nevery = 5000\nconcurrency = 4\n`, [
    '13:1: unknown key "timezone" in [[schedule]]; did you mean "time_zone"?',
    '14:1: unknown key "every" in [[schedule]]; did you mean "every_ms"?',
    '15:1: unknown key "concurrency" in [[schedule]]; it belongs in [[consumers]]',
  ]],
  ["two of one name", `${BASE}${SCHEDULE}${SCHEDULE}`, [
    '14:1: another schedule is called "nightly": give it another name',
  ]],
  ["a broker that there is not", `${BASE}${SCHEDULE}broker = "defualt"\n`, [
    '13:1: broker is "defualt": there is no [brokers.defualt]; did you mean "default"?',
  ]],
  ["no broker where there are two", `${BROKER}${REDIS}${FPM}${CONSUMER}broker = "redis"\n${SCHEDULE}`, [
    '12:1: missing key "broker" in [[schedule]]: expected "default" or "redis"',
  ]],
  ["a beanstalkd", `${BEANSTALKD}${FPM}${CONSUMER}${SCHEDULE}`, [
    "9:1: beanstalkd cannot store schedules: it has no atomic way to push one job per due time; use a " +
    `broker with driver = ${SCHEDULING_DRIVER}`,
  ]],
  [
    "a beanstalkd of several",
    `${BROKER}${BEANSTALKD}${FPM}${CONSUMER}broker = "default"\n${SCHEDULE}broker = "beanstalkd"\n`,
    [
      "16:1: beanstalkd cannot store schedules: it has no atomic way to push one job per due time; use a " +
      `broker with driver = ${SCHEDULING_DRIVER}`,
    ],
  ],
  ["what is no job of Sidekiq's", `${REDIS_BASE}${SCHEDULE}payload = "hello"\npriority = 1\n`, [
    '12:1: payload is not a Sidekiq job: expected one such as \'{"class":"ReportJob","args":[]}\' (Cannot read the ' +
    "message as a Sidekiq job: it is not JSON in UTF-8)",
    '13:1: jobs of driver = "redis" have no priority: remove it, or use a queue of its own',
  ]],
  ["no payload for Sidekiq", `${REDIS_BASE}${SCHEDULE}`, [
    '8:1: payload is not a Sidekiq job: expected one such as \'{"class":"ReportJob","args":[]}\' (Cannot read the ' +
    "message as a Sidekiq job: it is not JSON in UTF-8)",
  ]],
  ["too long a payload", `${BROKER}max_payload_bytes = 3\n${FPM}${CONSUMER}${SCHEDULE}payload = "äö"\n`, [
    "14:1: payload has 4 bytes, more than max_payload_bytes = 3 of its broker allows: shorten the payload, or raise the limit",
  ]],
];

for (const [claim, text, problems] of cases) {
  Deno.test(`A schedule with ${claim} is refused`, async () => {
    assert.deepEqual(await problemsIn(text), problems.map((problem) => `fervo.toml:${problem}`));
  });
}

Deno.test("A schedule means what it says, and has defaults", async () => {
  const text =
    `${BASE}${SCHEDULE}[[schedule]]\nname = "b"\nqueue = "mail"\nevery_ms = 60000\npayload = "é"\n` +
    'priority = -3\nattempts = 2\ncatch_up = "all"\n[[schedule]]\nname = "c"\nqueue = "q"\ncron = "@daily"\n' +
    'time_zone = "Europe/Stockholm"\n';
  const { schedule } = await parseConfig(text, "fervo.toml", NO_ENVIRONMENT);
  const defaults = {
    broker: "default",
    catchUp: "skip",
    payload: new Uint8Array(0),
    priority: 0,
    attempts: undefined,
  };
  assert.deepEqual(schedule, [
    { ...defaults, name: "nightly", queue: "default", rule: { cron: "30 2 * * *", timeZone: "UTC" } },
    {
      ...defaults,
      name: "b",
      queue: "mail",
      rule: { everyMs: 60_000 },
      payload: new TextEncoder().encode("é"),
      priority: -3,
      attempts: 2,
      catchUp: "all",
    },
    { ...defaults, name: "c", queue: "q", rule: { cron: "@daily", timeZone: "Europe/Stockholm" } },
  ]);
});

Deno.test("A schedule of Sidekiq's jobs is taken", async () => {
  const payload = `'{"class":"ReportJob","args":[7]}'`;
  assert.deepEqual(await problemsIn(`${REDIS_BASE}${SCHEDULE}payload = ${payload}\nattempts = 3\n`), []);
});
