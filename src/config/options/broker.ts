import * as z from "zod";
import type { BrokerType } from "../../brokers/broker_type.ts";
import type { Option, TextsByNameOption, Written } from "../../core/option.ts";
import { choice, refuseBy, table, wholeNumber } from "../fields.ts";
import { anyOf, isTable, show } from "../problems.ts";

/*
 * The tables of brokers: a schema for each type. The driver, and the format where a driver has several types, choose one.
 */

/** A broker's table: the common keys, and those of its type. */
export type BrokerTable = { readonly driver: string; readonly format: string } & Written;

/** The table of any broker. */
export function anyBrokerSchema(types: readonly BrokerType[]) {
  const byDriver = Map.groupBy(types, ({ driver }) => driver);
  const tables = [...byDriver.values()].map((ofDriver) => {
    const [only, ...others] = ofDriver.map((type) => brokerTableSchema(type, types));
    if (others.length === 0) return only!;
    const formats = ofDriver.flatMap((type) => Object.keys(type.formats));
    return z.discriminatedUnion("format", [only!, ...others], { error: `expected ${anyOf(formats)}` });
  });
  const union = z.discriminatedUnion("driver", tables as [typeof tables[0], ...typeof tables], {
    error: ({ input }) =>
      isTable(input)
        ? `expected ${anyOf([...byDriver.keys()])}`
        : "expected a table of a broker's settings, as in [brokers.default]",
  });
  return union as unknown as z.ZodType<BrokerTable>;
}

/** The table of a broker of this type, which is one of `types`. */
export function brokerTableSchema(type: BrokerType, types: readonly BrokerType[]) {
  return table(brokerShape(type, types));
}

/** The keys of such a table. */
export function brokerShape(type: BrokerType, types: readonly BrokerType[]) {
  const { driver, formats, defaultFormat, options } = type;
  const format = choice(Object.keys(formats));
  const isFirst = types.find((other) => other.driver === driver) === type;
  const own = Object.entries(options).map(([key, option]) => [key, optionSchema(option)] as const);
  return {
    driver: z.literal(driver, `expected "${driver}"`),
    // Optional, so that a missing format is one of the values that choose this table.
    format: isFirst ? format.default(defaultFormat).optional() : format,
    ...Object.fromEntries<z.ZodType>(own),
  };
}

/** The schema of an option's value. */
function optionSchema(option: Option): z.ZodType {
  switch (option.kind) {
    case "whole number":
      return wholeNumber(option.min, option.max).default(option.default);
    case "flag":
      return z.boolean("expected true or false").default(option.default);
    case "choice":
      return choice(option.values).default(option.default);
    case "texts":
      return z.array(z.string(option.expected).refine(option.isValid, option.expected), option.expected)
        .default([]);
    case "texts by name":
      return textsByOption(option).default({});
    case "text": {
      const { expected, isValid } = option;
      const error = ({ input }: { input?: unknown }) =>
        typeof expected === "string" ? expected : expected(typeof input === "string" ? input : "");
      const value = z.string({ error }).refine(isValid, { error });
      return option.default === undefined ? value : value.default(option.default);
    }
  }
}

function textsByOption({ whyNameIsRefused, isValid, expected, areDistinct }: TextsByNameOption) {
  const name = z.string().superRefine(refuseBy(whyNameIsRefused));
  const value = z.string(expected).refine(isValid, expected);
  return z.record(name, value, "expected a table of names and texts").superRefine((texts, context) => {
    const names = new Map<string, string>();
    for (const [name, text] of areDistinct ? Object.entries(texts) : []) {
      const other = names.get(text);
      names.set(text, other ?? name);
      if (other === undefined) continue;
      context.addIssue({
        code: "custom",
        path: [name],
        message: `expected another text than ${show(other)} has`,
      });
    }
  });
}
