/** A driver with several types: the format chooses one. */
import assert from "node:assert/strict";
import type { BrokerType } from "../../../src/brokers/broker_type.ts";
import { SQLITE } from "../../../src/brokers/sqlite/config.ts";
import { parseConfig } from "../../../src/config/load.ts";
import { text, textsByQueue } from "../../../src/core/option.ts";
import { FRAMEWORK } from "../../support/framework_format.ts";
import { BROKER, CONSUMER, FPM, NO_ENVIRONMENT, problemsIn } from "./support.ts";

const options = {
  path: SQLITE.options["path"]!,
  table: text(/^\w+$/, "a table's name", "messages"),
  queue_names: textsByQueue(/^[^\0]{1,9}$/, "1 to 9 characters without NUL"),
};
const FOREIGN: BrokerType = {
  ...SQLITE as unknown as BrokerType,
  formats: { framework: FRAMEWORK },
  defaultFormat: "framework",
  options,
  settings: (values) => values,
};
const TYPES = [SQLITE as unknown as BrokerType, FOREIGN];
const REST = `${FPM}status_path = "/status"\nkill_on_timeout = true\n${CONSUMER}`;
const problems = (broker: string) => problemsIn(`${BROKER}${broker}${REST}`, {}, TYPES);

Deno.test("A broker's driver and format choose its type, and its type its options", async () => {
  const read = async (broker: string) => {
    const config = await parseConfig(`${BROKER}${broker}${REST}`, "fervo.toml", {
      ...NO_ENVIRONMENT,
      brokerTypes: TYPES,
    });
    return config.brokers.get("default")!;
  };
  for (const [broker, format] of [["", "raw"], ['format = "envelope"\n', "envelope"]] as const) {
    const { type, format: { name } } = await read(broker);
    assert.deepEqual([type, name], [SQLITE, format]);
  }
  const foreign = await read('format = "framework"\nqueue_names = { mail = "default", "a.b" = "x" }\n');
  assert.equal(foreign.type, FOREIGN);
  assert.equal(foreign.format, FRAMEWORK);
  assert.deepEqual(
    (foreign.settings as { queue_names: unknown }).queue_names,
    { mail: "default", "a.b": "x" },
  );
  const plain = await read('format = "framework"\n[brokers.default.queue_names]\nmail = "default"\n');
  assert.deepEqual((plain.settings as { queue_names: unknown }).queue_names, { mail: "default" });
  assert.deepEqual(
    ((await read('format = "framework"\n')).settings as { queue_names: unknown }).queue_names,
    {},
  );
});

Deno.test("An option of another format is refused with the driver and the formats that it belongs to", async () => {
  assert.deepEqual(await problems("queue_names = {}\n"), [
    'fervo.toml:4:1: unknown key "queue_names" in [brokers.default]; it belongs in [brokers.NAME] with driver = "sqlite" and ' +
    'format = "framework"',
  ]);
  assert.deepEqual(await problems('format = "framework"\nbusy_timeout_ms = 1\n'), [
    'fervo.toml:5:1: unknown key "busy_timeout_ms" in [brokers.default]; it belongs in [brokers.NAME] with driver = "sqlite" ' +
    'and format = "raw" or "envelope"',
  ]);
  assert.deepEqual(await problems('format = "framwork"\n'), [
    'fervo.toml:4:1: brokers.default.format is "framwork": expected "raw", "envelope" or "framework"',
  ]);
  assert.deepEqual(await problems("format = 1\n"), [
    'fervo.toml:4:1: brokers.default.format is 1: expected "raw", "envelope" or "framework"',
  ]);
});

Deno.test("Texts by queue need names of queues, valid texts, and each text once", async () => {
  const found = await problems(
    'format = "framework"\n[brokers.default.queue_names]\nasync = "default"\n"a b" = "x"\nlow = ""\nmail = "default"\nmore = 1\n',
  );
  assert.deepEqual(found, [
    'fervo.toml:7:1: cannot use the name "a b" in [brokers.default.queue_names]: expected a queue\'s name, 1 to 128 characters ' +
    "of A-Z a-z 0-9 . _ : -",
    'fervo.toml:8:1: brokers.default.queue_names.low is "": expected 1 to 9 characters without NUL',
    "fervo.toml:10:1: brokers.default.queue_names.more is 1: expected 1 to 9 characters without NUL",
  ]);
  assert.deepEqual(await problems('format = "framework"\nqueue_names = { a = "x", b = "y", c = "x" }\n'), [
    'fervo.toml:5:35: brokers.default.queue_names.c is "x": expected another text than "a" has',
  ]);
  assert.deepEqual(await problems('format = "framework"\nqueue_names = "x"\n'), [
    'fervo.toml:5:1: brokers.default.queue_names is "x": expected a table of names and texts',
  ]);
});
