/** Compares what has become of the same messages in two trials. */
import type { Story } from "./trial.ts";

/** A difference that is known and wanted. In lines, "…" stands for any text, and the line "⋮" for any lines. */
export interface KnownDifference {
  /** The message's name without its number; "…" stands for any text. */
  readonly of: string;
  readonly where: keyof Story;
  readonly theirs: readonly string[];
  readonly ours: readonly string[];
  readonly because: string;
}

/** Text that is in lines of one side only, whatever the message: as when Symfony leaves traces of its own. */
export interface KnownTraces {
  /** What is taken out of the lines of both sides where they differ. */
  readonly traces: RegExp;
  readonly because: string;
}

export type Known = KnownDifference | KnownTraces;

const WHERE = ["inserted", "runs", "left", "shown"] as const satisfies readonly (keyof Story)[];
const NOTHING: Story = { inserted: [], runs: [], left: [], shown: [] };

/**
 * What is wrong, one text each: a difference that is not known, and a known one that did not occur. Nothing is wrong when the
 * list is empty.
 */
export function compare(
  theirs: ReadonlyMap<string, Story>,
  ours: ReadonlyMap<string, Story>,
  known: readonly Known[],
): string[] {
  const problems: string[] = [];
  const hasOccurred = new Set<Known>();
  for (const name of new Set([...theirs.keys(), ...ours.keys()])) {
    for (const where of WHERE) {
      let [a, b] = [(theirs.get(name) ?? NOTHING)[where], (ours.get(name) ?? NOTHING)[where]];
      for (const one of known) {
        if (!("traces" in one) || isEqual(a, b)) continue;
        const [a2, b2] = [without(one.traces, a), without(one.traces, b)];
        if (!isEqual(a, a2) || !isEqual(b, b2)) hasOccurred.add(one);
        [a, b] = [a2, b2];
      }
      if (isEqual(a, b)) continue;
      const difference = known.find((it) =>
        "of" in it && it.where === where && isOf(it, name) && fit(it.theirs, a) && fit(it.ours, b)
      );
      if (difference === undefined) problems.push(`${name}, ${where}:\n${lineByLine(a, b)}`);
      else hasOccurred.add(difference);
    }
  }
  for (const difference of known.filter((it) => !hasOccurred.has(it))) {
    problems.push(`known, and did not occur: ${Deno.inspect(difference)}`);
  }
  return problems;
}

/** Whether the difference is one of this message. */
export function isOf({ of }: KnownDifference, name: string): boolean {
  return fits(of, name.replace(/^\d+-/, ""));
}

function without(traces: RegExp, lines: readonly string[]): string[] {
  return lines.map((line) => line.replaceAll(traces, ""));
}

function isEqual(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

function fit(patterns: readonly string[], lines: readonly string[]): boolean {
  return fits(patterns.map((pattern) => `${pattern}\n`).join(""), lines.map((line) => `${line}\n`).join(""));
}

function fits(pattern: string, text: string): boolean {
  const source = pattern.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&")
    .replaceAll("⋮\n", "(?:.*\n)*").replaceAll("…", ".*");
  return new RegExp(`^${source}$`).test(text);
}

function lineByLine(theirs: readonly string[], ours: readonly string[]): string {
  const lines = Array.from({ length: Math.max(theirs.length, ours.length) }, (_, index) => {
    const [a, b] = [theirs[index], ours[index]];
    if (a === b) return `    ${a}`;
    return [...(a === undefined ? [] : [`  - ${a}`]), ...(b === undefined ? [] : [`  + ${b}`])].join("\n");
  });
  return lines.join("\n");
}
