import { type HistogramName, METRIC_TEXTS, type MetricName, type NumberName } from "./catalog.ts";

/** Labels as {@link labelsOf} writes them. */
export type LabelText = string;

/** The values of a metric, by their labels. */
type Series<Value> = readonly (readonly [labels: LabelText, value: Value])[];

/** Labels in Prometheus's text format, without the braces: `queue="mail",outcome="ack"`. */
export function labelsOf(labels: Readonly<Record<string, string>>): LabelText {
  return Object.entries(labels).map(([name, value]) => `${name}="${value.replace(/[\\"\n]/g, escape)}"`).join(
    ",",
  );
}

function escape(character: string): string {
  return character === "\n" ? "\\n" : `\\${character}`;
}

/** Counts values in buckets with fixed bounds. A value allocates nothing. */
export class BucketHistogram {
  readonly #bounds: readonly number[];
  /** One more than there are bounds: the last counts all larger values. */
  readonly #counts: Float64Array;
  #sum = 0;

  /** @param bounds Upper bounds of the buckets, ascending; an equal value belongs below. */
  constructor(bounds: readonly number[]) {
    this.#bounds = bounds;
    this.#counts = new Float64Array(bounds.length + 1);
  }

  observe(value: number): void {
    // Most values are small, and the bounds are few: a search from below finds the bucket fastest.
    let bucket = 0;
    while (bucket < this.#bounds.length && value > this.#bounds[bucket]!) bucket++;
    this.#counts[bucket]!++;
    this.#sum += value;
  }

  /** Writes the lines of its series to `page`. */
  write(page: MetricsPage, name: string, labels: LabelText): void {
    const before = labels === "" ? "" : `${labels},`;
    let count = 0;
    for (const [bucket, inBucket] of this.#counts.entries()) {
      count += inBucket;
      const bound = this.#bounds[bucket] ?? Infinity;
      page.sample(`${name}_bucket`, `${before}le="${numberText(bound)}"`, count);
    }
    page.sample(`${name}_sum`, labels, this.#sum);
    page.sample(`${name}_count`, labels, count);
  }
}

/**
 * A page in Prometheus's text format, version 0.0.4.
 *
 * Each metric of the catalog is added once, with all its series; a metric without series is left out.
 */
export class MetricsPage {
  static readonly CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8";
  #text = "";

  /** Adds a counter or a gauge. */
  add(name: NumberName, series: Series<number>): void {
    if (series.length > 0) this.#begin(name);
    for (const [labels, value] of series) this.sample(name, labels, value);
  }

  /** Adds a histogram. */
  addHistogram(name: HistogramName, series: Series<BucketHistogram>): void {
    if (series.length > 0) this.#begin(name);
    for (const [labels, histogram] of series) histogram.write(this, name, labels);
  }

  /** One line of a metric that has several. */
  sample(name: string, labels: LabelText, value: number): void {
    this.#text += labels === ""
      ? `${name} ${numberText(value)}\n`
      : `${name}{${labels}} ${numberText(value)}\n`;
  }

  toString(): string {
    return this.#text;
  }

  #begin(name: MetricName): void {
    const { type, help } = METRIC_TEXTS[name];
    this.#text += `# HELP ${name} ${help}\n# TYPE ${name} ${type}\n`;
  }
}

function numberText(value: number): string {
  if (value === Infinity) return "+Inf";
  return value === -Infinity ? "-Inf" : String(value);
}
