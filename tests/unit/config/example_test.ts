import { typeOf } from "../../../src/brokers/broker_type.ts";
import type { BrokerTable } from "../../../src/config/options/broker.ts";
import { BROKER_TYPES } from "../../../src/brokers/mod.ts";
import assert from "node:assert/strict";
import { parse, stringify, type TomlTable } from "smol-toml";
import * as z from "zod";
import { parseConfig } from "../../../src/config/load.ts";
import { configSchema } from "../../../src/config/schema.ts";
import { BROKER, CONSUMER, FPM, NO_ENVIRONMENT, PROCESS, SCHEDULE } from "./support.ts";

const EXAMPLE = Deno.readTextFileSync(new URL("../../../config.example.toml", import.meta.url));
/** With the tables that are not always needed. */
const WHOLE_EXAMPLE = EXAMPLE.replaceAll(/^#(?=[^ -])/gm, "");
const SOURCE = "/etc/fervo.toml";

/** Keys that the example cannot set: they only go with another value of another key, so a comment shows them. */
const SHOWN_IN_COMMENT = [
  "consumers.*.queues.*.name",
  "consumers.*.queues.*.weight",
  "consumers.*.process",
  "schedule.*.every_ms",
];

Deno.test("config.example.toml shows the defaults", async () => {
  // Unknown keys in the example are refused here.
  const shown = await parseConfig(EXAMPLE, SOURCE, NO_ENVIRONMENT);
  assert.deepEqual(shown, await parseConfig(BROKER + FPM + CONSUMER, SOURCE, NO_ENVIRONMENT));
  const whole = await parseConfig(WHOLE_EXAMPLE, SOURCE, NO_ENVIRONMENT);
  const brokers = shownBrokers().map(({ name, table }) => onlyRequired(name, table)).join("");
  const text = `${brokers}${FPM}${PROCESS}${CONSUMER}broker = "default"\n${SCHEDULE}broker = "default"\n`;
  assert.deepEqual(whole, await parseConfig(text, SOURCE, NO_ENVIRONMENT));
});

Deno.test("config.example.toml has a table for each kind of broker, with all of its options", () => {
  const shown = shownBrokers().map(({ table }) =>
    [`${table["driver"]} ${table["format"]}`, Object.keys(table).sort()] as const
  );
  const wanted = BROKER_TYPES.map(({ driver, defaultFormat, options }) =>
    [`${driver} ${defaultFormat}`, ["driver", "format", ...Object.keys(options)].sort()] as const
  );
  assert.deepEqual(Object.fromEntries(shown), Object.fromEntries(wanted));
});

Deno.test("config.example.toml shows every key of the schema", () => {
  const schema = z.toJSONSchema(configSchema(BROKER_TYPES), { io: "input" });
  const known = keysOfSchema(schema).filter((key) => !SHOWN_IN_COMMENT.includes(key));
  assert.deepEqual(keysOfData(parse(WHOLE_EXAMPLE)).sort(), known.sort());
  assert.ok(known.includes("consumers.*.retry.max_delay_ms"), "the walk reaches the innermost keys");
  assert.ok(known.includes("brokers.*.lease_ms"), "the walk reaches the drivers' keys");
});

Deno.test("config.example.toml shows in comments what can be written instead", async () => {
  const instead = WHOLE_EXAMPLE.replace(/^# (queues = .*)$/m, "$1").replace(/^# (APP_ENV = .*)$/gm, "$1")
    .replace('queues = ["default"]\n', "").replace('order = "strict"', 'order = "weighted"')
    .replace(/^# (process = .*)$/m, "$1").replace('fpm = "default"\n', "")
    .replace('executor = "fastcgi"', 'executor = "process"').replace(/^ack_on = .*$/m, "")
    .replace(/^payload_param = .*$/m, "").replace(/^batch_size = .*$/m, "")
    .replace(/^# (every_ms = .*)$/m, "$1").replace(/^cron = .*$/m, "").replace(/^time_zone = .*$/m, "");
  const config = await parseConfig(instead, SOURCE, NO_ENVIRONMENT);
  assert.deepEqual(config.consumers[0]?.queues, [{ name: "mail", weight: 3 }, {
    name: "reports",
    weight: 1,
  }]);
  assert.equal(config.fpm.get("default")?.params["APP_ENV"], "prod");
  assert.equal(config.processes.get("default")?.env["APP_ENV"], "prod");
  assert.deepEqual(config.schedule[0]?.rule, { everyMs: 60_000 });
  assert.deepEqual(config.consumers[0]?.executor, {
    kind: "process",
    process: "default",
    stderrLevel: "info",
    fatalAfterAck: "warn",
  });
});

/** The tables of brokers that the example has, one of each type. */
function shownBrokers() {
  const { brokers } = parse(WHOLE_EXAMPLE) as { brokers: Record<string, TomlTable> };
  return Object.entries(brokers).map(([name, table]) => ({ name, table }));
}

/** The same table without what has a default, as TOML. */
function onlyRequired(name: string, table: TomlTable): string {
  const { options } = typeOf(BROKER_TYPES, table as unknown as BrokerTable)!;
  const required = Object.entries(table).filter(([key]) => {
    const option = options[key];
    return key === "driver" || key === "format" || option?.kind === "text" && option.default === undefined;
  });
  return `${stringify({ brokers: { [name]: Object.fromEntries(required) } })}\n`;
}

/** The paths of all keys, tables too; `*` stands for any name or index. */
function keysOfSchema(schema: z.core.JSONSchema._JSONSchema, path = ""): string[] {
  if (typeof schema === "boolean") return [];
  const keys = Object.entries(schema.properties ?? {}).flatMap(([key, inner]) => [
    `${path}${key}`,
    ...keysOfSchema(inner, `${path}${key}.`),
  ]);
  const elements = [schema.items, schema.additionalProperties].flatMap((inner) =>
    inner === undefined || Array.isArray(inner) ? [] : keysOfSchema(inner, `${path}*.`)
  );
  const branches = [...schema.anyOf ?? [], ...schema.oneOf ?? [], ...schema.allOf ?? []]
    .flatMap((inner) => keysOfSchema(inner, path));
  return [...new Set([...keys, ...elements, ...branches])];
}

/** The tables whose keys a person chooses. */
const NAMED = [
  "brokers.",
  "brokers.*.queue_names.",
  "fpm.",
  "tracing.headers.",
  "fpm.*.params.",
  "processes.",
  "processes.*.exit_codes.",
  "processes.*.env.",
];

/** The same of a file's values; names that a person chooses are `*`. */
function keysOfData(data: object, path = ""): string[] {
  const isNamed = NAMED.includes(path) || Array.isArray(data);
  const keys = Object.entries(data).flatMap(([key, inner]) => {
    const step = isNamed ? "*" : key;
    const below = typeof inner === "object" ? keysOfData(inner, `${path}${step}.`) : [];
    return isNamed ? below : [`${path}${step}`, ...below];
  });
  return [...new Set(keys)];
}
