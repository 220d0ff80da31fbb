import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { type PhpFpm, signal } from "../../tests/support/php_fpm.ts";
import type { SeededRandom } from "../../tests/support/seeded_random.ts";
import type { SoakBroker } from "./broker.ts";
import type { Ending, Trouble } from "./doubles.ts";
import { CHILDREN, clockOf, type WorkerName, WORKERS, type Workers } from "./workers.ts";

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

interface Action {
  readonly what: string;
  readonly weight: number;
  act(): Promise<void>;
  /** For how long there can be effects when it is over. */
  readonly afterMs: number;
  /** Other things go wrong meanwhile. */
  readonly isAside?: boolean;
  /** It has effects only on runs for this worker. */
  readonly of?: WorkerName;
  /** What it does to jobs that run. */
  readonly ends: readonly Ending[];
  /** What had been settled before is no longer. */
  readonly undoes?: boolean;
}

export const STOPPED = "a worker is stopped, and started again";
export const RELOADED = "a worker is reloaded with other slots";

/** How long a broker is away at most. */
const OUTAGE_MS = 2_500;
/** How long nobody reads the logs: longer than a lease, and than a pipe takes to be full. */
const STALL_MS = 8_000;
/** How far the clock is stepped: further than a lease. */
const STEP_S = 12;
/** php-fpm ends what runs within its `process_control_timeout`, and then counts as young for two seconds. */
const RELOAD_MS = 10_000;

/** What goes wrong, at random. One thing at a time, but the broker can fail meanwhile. */
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
    const { workers, fpm, broker, random, withoutPushes } = deps;
    const { recoveryMs, hasWorkersClock } = broker;
    this.#actions = [
      {
        what: "a worker is killed",
        weight: 4,
        act: () => workers.kill("victim"),
        afterMs: recoveryMs,
        of: "victim",
        ends: ["leases"],
      },
      // While the broker fails, it cannot put back what it has.
      {
        what: STOPPED,
        weight: 3,
        act: () => this.#restart(),
        afterMs: recoveryMs,
        of: "victim",
        ends: ["runs", "leases"],
      },
      ...WORKERS.map((worker): Action => ({
        what: RELOADED,
        weight: 1.5,
        act: async () => {
          const slots = CHILDREN / WORKERS.length + random.below(3) - 1;
          await workers.reload(worker, "concurrency", String(slots));
        },
        afterMs: RELOAD_MS,
        of: worker,
        ends: ["runs"],
      })),
      {
        what: "a child of php-fpm is killed",
        weight: 5,
        act: () => this.#killChild(),
        afterMs: 0,
        ends: ["runs"],
      },
      {
        what: "php-fpm is reloaded (SIGUSR2)",
        weight: 2,
        act: () => fpm.reload(),
        afterMs: RELOAD_MS,
        ends: ["runs"],
      },
      {
        what: "php-fpm is stopped (SIGTERM), and started again",
        weight: 1,
        act: () => fpm.restart(),
        afterMs: RELOAD_MS,
        ends: ["runs"],
      },
      {
        what: "php-fpm is killed with its children (SIGKILL), and started again",
        weight: 1,
        act: async () => {
          await fpm.kill();
          await fpm.restart();
        },
        afterMs: RELOAD_MS,
        ends: ["runs"],
      },
      ...broker.failures.map(({ what, weight, begin }): Action => ({
        what,
        weight,
        act: () => begin(random.below(OUTAGE_MS)),
        afterMs: recoveryMs,
        isAside: true,
        ends: ["leases"],
      })),
      {
        what: `the clock steps by ${STEP_S} s`,
        weight: 2,
        act: () => this.#stepClock(),
        afterMs: recoveryMs,
        ends: hasWorkersClock ? ["leases"] : [],
      },
      {
        what: "nobody reads the logs",
        weight: 1,
        act: () => workers.stallLogs(STALL_MS),
        afterMs: recoveryMs,
        ends: ["leases"],
      },
      ...(broker.restore === undefined ? [] : [
        {
          what: "a backup takes the place of the queue's file",
          weight: 1,
          act: () => withoutPushes(() => broker.restore!()),
          afterMs: recoveryMs,
          ends: ["runs", "leases"],
          undoes: true,
        } satisfies Action,
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

  async #act(action: Action, pauseMs: number): Promise<void> {
    const { what, act, afterMs, isAside, of, ends, undoes = false } = action;
    await sleep(systemClock, pauseMs * (0.5 + this.#deps.random.next()));
    if (isAside) await this.#outage;
    this.#deps.note(of === undefined ? what : `${what}: ${of}`);
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
    const trouble = { what, fromMs: performance.now(), toMs: Infinity, of, ends, undoes };
    this.troubles.push(trouble);
    const acting = act().then(() => {
      trouble.toMs = performance.now() + afterMs;
    });
    if (isAside) this.#outage = acting;
    else await acting;
  }

  #pick(): Action {
    let at = this.#deps.random.next() * this.#actions.reduce((sum, { weight }) => sum + weight, 0);
    return this.#actions.find(({ weight }) => (at -= weight) < 0)!;
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
}
