/** Compares what has become of the same messages in two trials. */
import type { Story } from "./trial.ts";

/** A difference that is known and wanted. In lines, "…" stands for any text. */
export interface KnownDifference {
  /** The message's name without its number; "…" stands for any text. */
  readonly of: string;
  readonly where: keyof Story;
  readonly theirs: readonly string[];
  readonly ours: readonly string[];
  readonly because: string;
}

const WHERE = ["inserted", "runs", "left", "shown"] as const satisfies readonly (keyof Story)[];
const NOTHING: Story = { inserted: [], runs: [], left: [], shown: [] };

/**
 * What is wrong, one text each: a difference that is not known, and a known one that did not occur. Nothing is wrong when the
 * list is empty.
 */
export function compare(
  theirs: ReadonlyMap<string, Story>,
  ours: ReadonlyMap<string, Story>,
  known: readonly KnownDifference[],
): string[] {
  const problems: string[] = [];
  const hasOccurred = new Set<KnownDifference>();
  for (const name of new Set([...theirs.keys(), ...ours.keys()])) {
    const kind = name.replace(/^\d+-/, "");
    for (const where of WHERE) {
      const [a, b] = [(theirs.get(name) ?? NOTHING)[where], (ours.get(name) ?? NOTHING)[where]];
      if (isEqual(a, b)) continue;
      const difference = known.find((it) =>
        it.where === where && fits(it.of, kind) && fit(it.theirs, a) && fit(it.ours, b)
      );
      if (difference === undefined) problems.push(`${name}, ${where}:\n${lineByLine(a, b)}`);
      else hasOccurred.add(difference);
    }
  }
  for (const difference of known.filter((it) => !hasOccurred.has(it))) {
    problems.push(`known, and did not occur: ${JSON.stringify(difference, undefined, 2)}`);
  }
  return problems;
}

function isEqual(a: readonly string[], b: readonly string[]): boolean {
  return a.length === b.length && a.every((line, index) => line === b[index]);
}

function fit(patterns: readonly string[], lines: readonly string[]): boolean {
  return patterns.length === lines.length && patterns.every((pattern, index) => fits(pattern, lines[index]!));
}

function fits(pattern: string, text: string): boolean {
  const parts = pattern.split("…").map((part) => part.replaceAll(/[\\^$.*+?()[\]{}|]/g, "\\$&"));
  return new RegExp(`^${parts.join(".*")}$`, "s").test(text);
}

function lineByLine(theirs: readonly string[], ours: readonly string[]): string {
  const lines = Array.from({ length: Math.max(theirs.length, ours.length) }, (_, index) => {
    const [a, b] = [theirs[index], ours[index]];
    if (a === b) return `    ${a}`;
    return [...(a === undefined ? [] : [`  - ${a}`]), ...(b === undefined ? [] : [`  + ${b}`])].join("\n");
  });
  return lines.join("\n");
}
