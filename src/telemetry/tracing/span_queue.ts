import type { Clock, Timer } from "../../core/time/clock.ts";
import { timeLimit } from "../../core/time/time_limit.ts";
import type { Log } from "../log.ts";
import { endFacts, RepeatedStates, repetitionFacts } from "../repeated.ts";
import { encodeSpans, exportReason, type JobSpan, type Resource } from "./otlp.ts";

export interface SpanQueueOptions {
  /** The URL of an OTLP/HTTP collector, such as "http://127.0.0.1:4318/v1/traces". */
  readonly endpoint: string;
  /** Further headers of each request; they may be secret. */
  readonly headers: Readonly<Record<string, string>>;
  readonly resource: Resource;
  /** Of fervo-worker. */
  readonly version: string;
}

/** How long a span waits for others to be sent with. */
const WAIT_MS = 1_000;
const MAX_SPANS_A_REQUEST = 2_000;
/** A few seconds of the busiest worker, some 20 MB. Further spans are dropped and counted. */
const MAX_WAITING = 20_000;
const REQUEST_TIMEOUT_MS = 10_000;
/** The whole limit for the last exports at the end. */
const CLOSE_TIMEOUT_MS = 3_000;
const MAX_PAUSE_MS = 30_000;

/**
 * Sends spans to a collector, beside the jobs and never before them.
 *
 * 1. Keeps ended spans, up to a limit; beyond it drops new ones.
 * 2. Sends many spans in each request, one request after the other.
 * 3. Keeps the spans of a failed request, and sends them again after growing pauses; spans that the collector refuses for good
 *    (a 4xx status) are not sent again.
 * 4. Reports an outage once when it begins, and once when it has ended, with the number of lost spans.
 * 5. At the end sends the remaining spans, for a short time.
 */
export class SpanQueue implements AsyncDisposable {
  readonly #clock: Clock;
  readonly #log: Log;
  readonly #options: SpanQueueOptions;
  readonly #ending = new AbortController();
  #waiting: JobSpan[] = [];
  #timer: Timer | undefined;
  #sending: Promise<void> | undefined;
  readonly #repeated: RepeatedStates;
  #isAway = false;
  #pauseMs = WAIT_MS;
  #dropped = 0;

  constructor(deps: { clock: Clock; log: Log }, options: SpanQueueOptions) {
    this.#clock = deps.clock;
    this.#log = deps.log;
    this.#repeated = new RepeatedStates(deps);
    this.#options = options;
  }

  /** Adds a span; never waits and never throws. */
  add(span: JobSpan): void {
    if (this.#waiting.length >= MAX_WAITING) {
      this.#dropped++;
      return;
    }
    this.#waiting.push(span);
    if (this.#sending !== undefined) return;
    if (this.#waiting.length >= MAX_SPANS_A_REQUEST && !this.#isAway) this.#send();
    else this.#timer ??= this.#clock.setTimer(() => this.#send(), this.#delayMs());
  }

  /** Sends the remaining spans; ends within seconds, whatever the collector does. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#timer?.cancel();
    const limit = this.#clock.setTimer(() => this.#ending.abort(), CLOSE_TIMEOUT_MS);
    await this.#sending;
    this.#timer?.cancel();
    while (this.#waiting.length > 0 && !this.#ending.signal.aborted) {
      const left = this.#waiting.length;
      await this.#sendSome();
      if (this.#waiting.length === left) break;
    }
    limit.cancel();
    this.#dropped += this.#waiting.length;
    if (this.#dropped > 0) this.#log.warn({ dropped: this.#dropped }, "Traces were lost");
  }

  #send(): void {
    this.#timer?.cancel();
    this.#timer = undefined;
    this.#sending = this.#sendSome().then(() => {
      this.#sending = undefined;
      if (this.#ending.signal.aborted || this.#waiting.length === 0) return;
      this.#timer = this.#clock.setTimer(() => this.#send(), this.#delayMs());
    });
  }

  #delayMs(): number {
    if (this.#isAway) return this.#pauseMs;
    return this.#waiting.length >= MAX_SPANS_A_REQUEST ? 0 : WAIT_MS;
  }

  async #sendSome(): Promise<void> {
    const spans = this.#waiting.slice(0, MAX_SPANS_A_REQUEST);
    const problem = await this.#request(spans);
    if (problem === undefined) this.#back();
    else this.#away(problem.text);
    if (problem?.isTransient) return;
    if (problem !== undefined) this.#dropped += spans.length;
    this.#waiting = this.#waiting.slice(spans.length);
  }

  async #request(spans: readonly JobSpan[]): Promise<{ text: string; isTransient: boolean } | undefined> {
    const { endpoint, headers, resource, version } = this.#options;
    using limit = timeLimit(this.#clock, REQUEST_TIMEOUT_MS, () => new Error("no answer in 10 s"));
    try {
      const answer = await fetch(endpoint, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body: encodeSpans(spans, resource, version),
        // Secret headers must not be sent elsewhere.
        redirect: "manual",
        signal: AbortSignal.any([limit.signal, this.#ending.signal]),
      });
      await answer.body?.cancel();
      if (answer.ok) return undefined;
      const isTransient = answer.status === 429 || answer.status >= 500;
      return { text: `it answers with status ${answer.status}`, isTransient };
    } catch (error) {
      return { text: exportReason(error), isTransient: true };
    }
  }

  #away(reason: string): void {
    if (this.#isAway) this.#pauseMs = Math.min(this.#pauseMs * 2, MAX_PAUSE_MS);
    this.#isAway = true;
    const { endpoint } = this.#options;
    const again = this.#repeated.met(endpoint, { code: "", message: reason });
    if (again === undefined) return;
    this.#log.warn({ endpoint, error: reason, ...repetitionFacts(again) }, "Cannot export traces");
  }

  #back(): void {
    if (this.#isAway) {
      const ended = this.#repeated.ended(this.#options.endpoint);
      this.#log.info({ dropped: this.#dropped, ...endFacts(ended) }, "Traces are exported again");
      this.#dropped = 0;
    }
    this.#isAway = false;
    this.#pauseMs = WAIT_MS;
  }
}
