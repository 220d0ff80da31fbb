import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { type PhpFpm, signal } from "../../tests/support/php_fpm.ts";
import type { SeededRandom } from "../../tests/support/seeded_random.ts";
import type { SoakBroker } from "./brokers.ts";
import { KILLED, type Trouble } from "./doubles.ts";
import { CHILDREN, clockOf, WORKERS, type Workers } from "./workers.ts";

export interface ChaosDeps {
  readonly workers: Workers;
  readonly fpm: PhpFpm;
  readonly broker: SoakBroker;
  readonly random: SeededRandom;
  /** Holds the clock of workers and php-fpm. */
  readonly folder: string;
  /** Runs `act` while nobody pushes. */
  readonly withoutPushes: (act: () => Promise<void>) => Promise<void>;
  /** Tells what is done. */
  readonly note: (line: string) => void;
}

/** `afterMs`: for how long there can be effects when it is over. */
type Action = readonly [weight: number, what: string, act: () => Promise<void>, afterMs: number];

export const STOPPED = "a worker is stopped, and started again";
const RESTORED = "a backup takes the place of the queue's file";
export const RELOADED = "a worker is reloaded with other slots";

/** How long a broker is away at most. */
const OUTAGE_MS = 2_500;
/** How long nobody reads the logs: longer than a lease, and than a pipe takes to be full. */
const STALL_MS = 8_000;
/** How far the clock is stepped: further than a lease. */
const STEP_S = 12;
/** Of a worker that is killed, and of a file that is replaced: until leases have ended, and what is lost is taken back. */
const LEASE_MS = 30_000;
/** php-fpm ends what runs within its `process_control_timeout`, and then counts as young for two seconds. */
const RELOAD_MS = 10_000;

/** What goes wrong, at random. One thing at a time, but the broker can be away meanwhile. */
export class Chaos {
  /** How often what was done. */
  readonly done = new Map<string, number>();
  /** How long each orderly stop took, milliseconds. */
  readonly drainsMs: number[] = [];
  /** In order. */
  readonly troubles: Trouble[] = [];
  /** Everything has gone wrong once. */
  isRound = false;
  readonly #deps: ChaosDeps;
  readonly #actions: readonly Action[];
  #outage: Promise<void> | undefined;
  #clockS = 0;

  constructor(deps: ChaosDeps) {
    this.#deps = deps;
    const { workers, fpm, broker, random } = deps;
    this.#actions = [
      [4, KILLED, () => workers.kill("victim"), LEASE_MS],
      [3, STOPPED, () => this.#restart(), 0],
      [3, RELOADED, async () => {
        const slots = CHILDREN / WORKERS.length + random.below(3) - 1;
        await workers.reload(random.pick(WORKERS), "concurrency", String(slots));
      }, RELOAD_MS],
      [5, "a child of php-fpm is killed", () => this.#killChild(), 0],
      [2, "php-fpm is reloaded (SIGUSR2)", () => fpm.reload(), RELOAD_MS],
      [1, "php-fpm is stopped (SIGTERM), and started again", () => fpm.restart(), RELOAD_MS],
      [2, broker.trouble, () => this.#beginOutage(), OUTAGE_MS + LEASE_MS],
      [2, `the clock steps by ${STEP_S} s`, () => this.#stepClock(), LEASE_MS],
      [1, "nobody reads the logs", () => workers.stallLogs(STALL_MS), LEASE_MS],
      ...(broker.restore === undefined ? [] : [
        [1, RESTORED, () => {
          return this.#deps.withoutPushes(() => broker.restore!());
        }, LEASE_MS] as const,
      ]),
    ];
  }

  /** Each of them once, in random order, and then more of them until `isOver`. Ends with all parts running. */
  async run(isOver: () => boolean, pauseMs: number): Promise<void> {
    const { random } = this.#deps;
    const order = this.#actions.map((action) => ({ action, at: random.next() }));
    for (const { action } of order.sort((a, b) => a.at - b.at)) await this.#act(action, pauseMs);
    this.isRound = true;
    while (!isOver()) await this.#act(this.#pick(), pauseMs);
    await this.#outage;
  }

  async #act([, what, act, afterMs]: Action, pauseMs: number): Promise<void> {
    await sleep(systemClock, pauseMs * (0.5 + this.#deps.random.next()));
    this.#deps.note(what);
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
    const trouble = { what, fromMs: performance.now(), toMs: Infinity, undoes: what === RESTORED };
    this.troubles.push(trouble);
    await act();
    trouble.toMs = performance.now() + afterMs;
  }

  #pick(): Action {
    let at = this.#deps.random.below(this.#actions.reduce((sum, [weight]) => sum + weight, 0));
    return this.#actions.find(([weight]) => (at -= weight) < 0)!;
  }

  async #restart(): Promise<void> {
    const ms = await this.#deps.workers.stop("victim");
    this.drainsMs.push(ms);
    this.#deps.note(`the stop took ${ms.toFixed(0)} ms`);
    await this.#deps.workers.start("victim");
  }

  async #killChild(): Promise<void> {
    const status = await this.#deps.fpm.control().status();
    const pids = status?.processes.map(({ pid }) => pid).filter((pid) => pid > 0) ?? [];
    if (pids.length === 0) return;
    // It may have ended by itself.
    signal(this.#deps.random.pick(pids), "SIGKILL");
  }

  async #stepClock(): Promise<void> {
    const { folder, random } = this.#deps;
    this.#clockS = random.pick(
      [-STEP_S, 0, STEP_S].filter((offset) => Math.abs(offset - this.#clockS) === STEP_S),
    );
    // As a whole: a worker may read it at any moment.
    const { file } = clockOf(folder);
    await Deno.writeTextFile(`${file}.new`, `${this.#clockS < 0 ? "" : "+"}${this.#clockS}\n`);
    await Deno.rename(`${file}.new`, file);
  }

  async #beginOutage(): Promise<void> {
    await this.#outage;
    const ms = this.#deps.random.below(OUTAGE_MS);
    this.#outage = this.#deps.broker.fail(ms);
  }
}
