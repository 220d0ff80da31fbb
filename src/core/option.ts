/*
 * The options that a part of the program adds to the configuration: names, valid values and defaults. They are data, so that
 * configuration, documentation and tests read the same, and nothing is opened for that.
 */

import { isQueueName, QUEUE_NAME_RULE } from "./text/queue_name.ts";

/** Keys and list indexes, from the top of the configuration file to a value. */
export type Path = readonly (string | number)[];

/** Something wrong in the configuration, and what to do about it. */
export interface Problem {
  /** The place of the value; for a missing value, the table that should contain it. */
  readonly path: Path;
  readonly text: string;
}

/** A table of the configuration as it is written, unchecked. */
export type Written = Readonly<Record<string, unknown>>;

export interface WholeNumberOption {
  readonly kind: "whole number";
  readonly min: number;
  readonly max: number;
  readonly default: number;
}

export interface TextOption {
  readonly kind: "text";
  readonly isValid: (text: string) => boolean;
  /** What a valid value is, as the end of a sentence: `expected host and port`. @param text The written value. */
  readonly expected: string | ((text: string) => string);
  /** Undefined for a required option. */
  readonly default: string | undefined;
}

export interface TextsOption {
  readonly kind: "texts";
  readonly isValid: (text: string) => boolean;
  readonly expected: string;
}

/** A table of texts by name. */
export interface TextsByNameOption {
  readonly kind: "texts by name";
  /** Why a name is invalid: what it must be, such as `expected a name`; undefined when it is valid. */
  readonly whyNameIsRefused: (name: string) => string | undefined;
  readonly isValid: (text: string) => boolean;
  /** What a valid text is: `expected a text of 1 to 10 characters`. */
  readonly expected: string;
  /** Each text stands under one name only. */
  readonly areDistinct: boolean;
}

export interface FlagOption {
  readonly kind: "flag";
  readonly default: boolean;
}

export interface ChoiceOption<Value extends string = string> {
  readonly kind: "choice";
  readonly values: readonly Value[];
  readonly default: Value;
}

export type Option =
  | WholeNumberOption
  | TextOption
  | TextsOption
  | TextsByNameOption
  | FlagOption
  | ChoiceOption;

/** By key, in the order of the documentation. */
export type Options = Readonly<Record<string, Option>>;

/** The values of options, with defaults filled in. */
export type OptionValues<All extends Options> = {
  readonly [Key in keyof All]: All[Key] extends WholeNumberOption ? number
    : All[Key] extends TextOption ? string
    : All[Key] extends TextsOption ? readonly string[]
    : All[Key] extends TextsByNameOption ? Readonly<Record<string, string>>
    : All[Key] extends FlagOption ? boolean
    : All[Key] extends ChoiceOption<infer Value> ? Value
    : never;
};

export function wholeNumber(min: number, max: number, standard: number): WholeNumberOption {
  return { kind: "whole number", min, max, default: standard };
}

/**
 * @param valid The pattern of a valid text.
 * @param what Its description: `a name without NUL`.
 * @param standard The default; a text without one is required.
 */
export function text(valid: RegExp, what: string, standard?: string): TextOption {
  return {
    kind: "text",
    isValid: (value) => valid.test(value),
    expected: `expected ${what}`,
    default: standard,
  };
}

/** A text that `read` accepts. */
export function readable(
  read: (text: string) => unknown,
  expected: TextOption["expected"],
  standard?: string,
): TextOption {
  return { kind: "text", isValid: (value) => canRead(read, value), expected, default: standard };
}

export function readableTexts(read: (text: string) => unknown, expected: string): TextsOption {
  return { kind: "texts", isValid: (value) => canRead(read, value), expected };
}

export function flag(standard: boolean): FlagOption {
  return { kind: "flag", default: standard };
}

export function choice<const Value extends string>(
  values: readonly Value[],
  standard: NoInfer<Value>,
): ChoiceOption<Value> {
  return { kind: "choice", values, default: standard };
}

/**
 * A text for each queue, no text twice; none is required.
 *
 * @param valid The pattern of a valid text.
 * @param what Its description, as for {@link text}.
 */
export function textsByQueue(valid: RegExp, what: string): TextsByNameOption {
  return {
    kind: "texts by name",
    whyNameIsRefused: (name) => isQueueName(name) ? undefined : `expected a queue's name, ${QUEUE_NAME_RULE}`,
    isValid: (value) => valid.test(value),
    expected: `expected ${what}`,
    areDistinct: true,
  };
}

/** The path of a file, or "" for none. @param what What the file contains. */
export function filePath(what: string): TextOption {
  return text(/^[^\0]*$/, `the path of a file with ${what}, or "" for none`, "");
}

/** Whether `read` accepts a text. */
export function canRead(read: (text: string) => unknown, value: string): boolean {
  try {
    read(value);
    return true;
  } catch {
    return false;
  }
}
