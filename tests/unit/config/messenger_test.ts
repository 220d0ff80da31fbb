import assert from "node:assert/strict";
import {
  MESSENGER_MYSQL,
  MESSENGER_POSTGRES,
  MESSENGER_SQLITE,
} from "../../../src/brokers/rows/config/messenger.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { FPM, NO_ENVIRONMENT, problemsIn } from "./support.ts";

const KILLING = `${FPM}status_path = "/status"\nkill_on_timeout = true\n`;
const SQLITE = '[brokers.shop]\ndriver = "sqlite"\nformat = "messenger"\npath = "var/data.db"\n';
const file = (broker: string, consumer = 'queues = ["async"]\n') =>
  `${broker}${KILLING}[[consumers]]\n${consumer}`;

Deno.test("Messenger's table is chosen by the format on each driver, and the application decides on retries and failures", async () => {
  for (
    const [driver, place, type] of [
      ["postgres", 'url = "postgres://shop@127.0.0.1/shop"', MESSENGER_POSTGRES],
      ["mysql", 'url = "mysql://shop@127.0.0.1/shop"', MESSENGER_MYSQL],
      ["sqlite", 'path = "var/data.db"', MESSENGER_SQLITE],
    ] as const
  ) {
    const text = `[brokers.shop]\ndriver = "${driver}"\nformat = "messenger"\n${place}\n` +
      'queue_names = { async = "default" }\ntimezone = "Europe/Stockholm"\nredeliver_timeout_ms = 60000\n';
    const config = await parseConfig(
      file(text, 'queues = ["async"]\nredeliveries_max = 0\npost_mortem_timeout_ms = 5000\n'),
      "/etc/fervo.toml",
      NO_ENVIRONMENT,
    );
    const broker = config.brokers.get("shop")!;
    assert.equal(broker.type, type);
    assert.equal(broker.format.name, "messenger");
    const { table, queueNames, timezone, redeliverTimeoutMs, leaseMs } = broker.settings as {
      [name: string]: unknown;
    };
    assert.deepEqual({ table, queueNames, timezone, redeliverTimeoutMs, leaseMs }, {
      table: "messenger_messages",
      queueNames: new Map([["async", "default"]]),
      timezone: "Europe/Stockholm",
      redeliverTimeoutMs: 60_000,
      leaseMs: 60_000,
    });
    assert.deepEqual(type.ownership("messenger"), {
      attempts: "broker",
      retry: "application",
      dead: "application",
    });
    const [{ redeliveriesMax, postMortemTimeoutMs }] = config.consumers as [typeof config.consumers[0]];
    assert.deepEqual([redeliveriesMax, postMortemTimeoutMs], [0, 5_000]);
  }
});

const WRONG: readonly (readonly [what: string, text: string, problems: readonly string[]])[] = [
  [
    "values",
    file(`${SQLITE}table = "a;b"\nqueue_names = { async = "" }\ntimezone = "Mars/Base"\nlease_ms = 1999\n`),
    [
      '5:1: brokers.shop.table is "a;b": expected a table\'s name, such as "messenger_messages" or "shop.messages"',
      '6:17: brokers.shop.queue_names.async is "": expected a text of 1 to 190 characters without NUL',
      '7:1: brokers.shop.timezone is "Mars/Base": expected the name of a time zone, such as "Europe/Stockholm" or "UTC"',
      "8:1: brokers.shop.lease_ms is 1999: expected a whole number from 2000 to 86400000",
    ],
  ],
  [
    "a lease beyond the transport's timeout",
    file(`${SQLITE}lease_ms = 9000\nredeliver_timeout_ms = 8000\n`),
    [
      "5:1: lease_ms (9000) is more than redeliver_timeout_ms (8000), after which Symfony's own consumers take a message again: " +
      "lower lease_ms; or raise the transport's redeliver_timeout, and redeliver_timeout_ms with it",
    ],
  ],
  ["a timeout below the lease's default", file(`${SQLITE}redeliver_timeout_ms = 59999\n`), [
    "5:1: lease_ms (60000) is more than redeliver_timeout_ms (59999), after which Symfony's own consumers take a message " +
    "again: lower lease_ms; or raise the transport's redeliver_timeout, and redeliver_timeout_ms with it",
  ]],
  [
    "two transports with one queue_name",
    file(`${SQLITE}queue_names = { async = "high" }\n`, 'queues = ["async", "high"]\n'),
    [
      '12:20: queue "high" has the queue_name "high", as "async" has in queue_names: set queue_names.high too',
    ],
  ],
  ["the queue_name of dead letters", file(`${SQLITE}queue_names = { async = "a__fervo_dead" }\n`), [
    '12:11: queue "async" has the queue_name "a__fervo_dead", which is one of the worker\'s dead letters',
  ]],
  ["an option of our own table", file(`${SQLITE}busy_timeout_ms = 1\n`), [
    '5:1: unknown key "busy_timeout_ms" in [brokers.shop]; it belongs in [brokers.NAME] with driver = "sqlite" and format = ' +
    '"raw" or "envelope"',
  ]],
  ["a pool that does not end late jobs", `${SQLITE}${FPM}[[consumers]]\nqueues = ["async"]\n`, [
    '5:1: consumers of messages of the format "messenger" need kill_on_timeout = true: the worker reports a job that timed out ' +
    "to its framework only after the PHP process of the job has ended",
  ]],
  [
    "a schedule",
    `${file(SQLITE)}[[schedule]]\nname = "n"\nqueue = "async"\ncron = "* * * * *"\n`,
    [
      '13:1: sqlite with format = "messenger" cannot store schedules: it has no atomic way to push one job per due time; use a ' +
      'broker with driver = "sqlite", "postgres", "mysql" or "redis", and without format = "messenger"',
    ],
  ],
];

for (const [what, text, problems] of WRONG) {
  Deno.test(`A broker with Messenger's table is refused for ${what}`, async () => {
    assert.deepEqual(await problemsIn(text), problems.map((line) => `fervo.toml:${line}`));
  });
}
