// Not `import { z }`: that is one object, and a bundle would contain all of zod with its translations.
import * as z from "zod";
import { canRead } from "../core/option.ts";
import { parseAddress } from "../fastcgi/address.ts";
import { MAX_SOCKET_PATH_BYTES } from "../net/address.ts";
import { anyOf } from "./problems.ts";

/* Kinds of values for the schema. Every message is the end of a sentence that problems.ts begins: the expected value. */

const SOCKET_PATH = `expected a socket's path of at most ${MAX_SOCKET_PATH_BYTES} bytes`;

/** A table that refuses unknown keys. The message lists the known ones, separated by ", ". */
export function table<Shape extends z.core.$ZodLooseShape>(shape: Shape, expected = "expected a table") {
  return z.strictObject(shape, {
    error: (issue) => issue.code === "unrecognized_keys" ? Object.keys(shape).join(", ") : expected,
  });
}

export function tablesByName<Table extends z.ZodType>(table: Table, expected: string) {
  const name = z.string().regex(/^[A-Za-z0-9._-]{1,64}$/, "expected 1 to 64 characters of A-Z a-z 0-9 . _ -");
  return z.record(name, table, expected);
}

/** @param whyRefused Why a name is invalid; undefined when it is valid. */
export function textsByName(
  whyRefused: (name: string) => string | undefined,
  value = /^[^\0]*$/,
  what = "a text in quotes without NUL",
) {
  const name = z.string().superRefine(refuseBy(whyRefused));
  return z.record(
    name,
    text(value, what),
    "expected a table of names and texts",
  );
}

/** Refuses a name with the reason of `why`. */
export function refuseBy(why: (name: string) => string | undefined) {
  return (name: string, context: z.RefinementCtx) => {
    const reason = why(name);
    if (reason !== undefined) context.addIssue({ code: "custom", message: reason });
  };
}

export function wholeNumber(min: number, max = Number.MAX_SAFE_INTEGER) {
  const isAny = min === Number.MIN_SAFE_INTEGER;
  const range = isAny ? "" : max === Number.MAX_SAFE_INTEGER ? `of at least ${min}` : `from ${min} to ${max}`;
  const expected = `expected a whole number ${range}`.trimEnd();
  return z.number(expected).refine(isWhole(min, max), expected);
}

/** Instead of `z.int`: once that has refused a number, zod runs no other check of the whole file. */
export function isWhole(min: number, max: number) {
  return (value: number) => Number.isSafeInteger(value) && value >= min && value <= max;
}

export function decimal(min: number, max: number) {
  const expected = `expected a number from ${min} to ${max}`;
  return z.number(expected).min(min, expected).max(max, expected);
}

export function text(pattern: RegExp, what: string) {
  return z.string(`expected ${what}`).regex(pattern, `expected ${what}`);
}

export function choice<const Value extends string>(values: readonly Value[]) {
  return z.enum(values, `expected ${anyOf(values)}`);
}

export function pagePath(directive: string) {
  return text(/^(?:\/[^\0]*)?$/, `php-fpm's ${directive}, which begins with "/", or "" for none`);
}

export function filePath(what: string) {
  return text(/^[^\0]*$/, `the path of a file with ${what}, or "" for none`);
}

/** @param none The text for no address. */
export function address(expected: string, none?: string) {
  return z.string(expected).refine((text) => text === none || canRead(parseAddress, text), {
    error: ({ input }) => /^(?:unix:)?\//.test(String(input)) ? SOCKET_PATH : expected,
  });
}
