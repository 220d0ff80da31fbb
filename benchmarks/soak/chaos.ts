import { sleep, systemClock } from "../../src/core/clock.ts";
import { type PhpFpm, signal } from "../../tests/support/php_fpm.ts";
import type { SeededRandom } from "../../tests/support/seeded_random.ts";
import type { SoakBroker } from "./brokers.ts";
import { CHILDREN, WORKERS, type Workers } from "./workers.ts";

export interface ChaosDeps {
  readonly workers: Workers;
  readonly fpm: PhpFpm;
  readonly broker: SoakBroker;
  readonly random: SeededRandom;
  /** Tells what is done. */
  readonly note: (line: string) => void;
}

type Action = readonly [weight: number, what: string, act: () => Promise<void>];

/** How long a broker is away at most. */
const OUTAGE_MS = 2_500;

/** What goes wrong, at random. One thing at a time, but the broker can be away meanwhile. */
export class Chaos {
  /** How often what was done. */
  readonly done = new Map<string, number>();
  /** How long each orderly stop took, milliseconds. */
  readonly drainsMs: number[] = [];
  /** Children of php-fpm that it has ended at once, whatever they ran. */
  childrenEnded = 0;
  /** Everything has gone wrong once. */
  isRound = false;
  readonly #deps: ChaosDeps;
  readonly #actions: readonly Action[];
  #outage: Promise<void> | undefined;

  constructor(deps: ChaosDeps) {
    this.#deps = deps;
    const { workers, fpm, broker, random } = deps;
    this.#actions = [
      [4, "a worker is killed", () => workers.kill("victim")],
      [3, "a worker is stopped, and started again", () => this.#restart()],
      [3, "a worker is reloaded with other slots", async () => {
        await workers.reload(random.pick(WORKERS), CHILDREN / WORKERS.length + random.below(3) - 1);
      }],
      [5, "a child of php-fpm is killed", () => this.#killChild()],
      [2, "php-fpm is reloaded (SIGUSR2)", () => fpm.reload()],
      [1, "php-fpm is stopped (SIGTERM), and started again", () => {
        this.childrenEnded += CHILDREN;
        return fpm.restart();
      }],
      [2, broker.trouble, () => this.#beginOutage()],
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

  async #act([, what, act]: Action, pauseMs: number): Promise<void> {
    await sleep(systemClock, pauseMs * (0.5 + this.#deps.random.next()));
    this.#deps.note(what);
    this.done.set(what, (this.done.get(what) ?? 0) + 1);
    await act();
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
    this.childrenEnded++;
    // It may have ended by itself.
    signal(this.#deps.random.pick(pids), "SIGKILL");
  }

  async #beginOutage(): Promise<void> {
    await this.#outage;
    const ms = this.#deps.random.below(OUTAGE_MS);
    this.#outage = this.#deps.broker.fail(ms);
  }
}
