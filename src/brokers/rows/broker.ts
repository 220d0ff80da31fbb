import type { BrokerAdmin } from "../../core/admin.ts";
import type { Broker, Capabilities, Subscription } from "../../core/broker.ts";
import type { Format, PushOptions } from "../../core/format.ts";
import type { Observer } from "../../core/observer.ts";
import type { Clock } from "../../core/time/clock.ts";
import { SqlDatabase, type SqlServerOptions } from "../../sql/database.ts";
import type { SqlClient, SqlDriver } from "../../sql/driver.ts";
import { BackgroundWork } from "../background.ts";
import { Calls } from "../calls.ts";
import { pullSubscription } from "../pull_subscription.ts";
import { RowClaims } from "./claims.ts";
import { RowSettler } from "./delivery.ts";
import type { Layout } from "./layout.ts";
import { ServerTime } from "./server_time.ts";
import type { RowsShared } from "./shared.ts";
import { Turns } from "./turns.ts";
import { Wakeups } from "./wakeups.ts";

/**
 * On the connection for jobs a statement waits this share of a lease for a lock. Renewals wait behind it, up to four times: with
 * other changes, and then for it alone, and the same for one that came in between.
 */
const LOCK_SHARE = 0.1;

export interface RowsBrokerDeps {
  readonly clock: Clock;
  readonly driver: SqlDriver;
  readonly layout: Layout;
  readonly format: Format;
  /** Gets the events of the broker's own work. */
  readonly observe?: Observer | undefined;
}

export interface RowsBrokerOptions extends SqlServerOptions {
  /** The length of a lease, and so the time after a crash until the job runs again; milliseconds. */
  readonly leaseMs: number;
}

/**
 * Jobs in a table of a database.
 *
 * 1. Claims, settles and pushes in transactions that all changes of one turn share ({@link Turns}).
 * 2. Goes by the server's time, which all workers and producers share ({@link ServerTime}).
 * 3. Waits for jobs without busy polling ({@link RowClaims}, {@link Wakeups}).
 * 4. Uses two connections: one for jobs, and one for questions of people and for notifications.
 */
export class RowsBroker implements Broker {
  readonly capabilities: Capabilities;
  readonly format: Format;
  readonly admin: BrokerAdmin;
  readonly #layout: Layout;
  readonly #shared: RowsShared;
  readonly #work: SqlDatabase;
  readonly #claims: RowClaims;
  readonly #background: BackgroundWork;
  readonly #calls = new Calls();
  #closed: Promise<void> | undefined;

  constructor(deps: RowsBrokerDeps, options: RowsBrokerOptions) {
    const { clock, driver, layout, observe = () => {} } = deps;
    this.format = deps.format;
    this.capabilities = layout.capabilities;
    this.#layout = layout;
    const wakeups = new Wakeups(clock);
    const { schemaAdvice } = layout;
    const prepare = (client: SqlClient) => layout.prepare(client);
    const lockTimeoutMs = Math.min(options.lockTimeoutMs, options.leaseMs * LOCK_SHARE);
    const work = this.#work = new SqlDatabase({ driver, clock, onConnect: prepare, schemaAdvice }, {
      ...options,
      lockTimeoutMs,
    });
    const side = new SqlDatabase({
      driver,
      clock,
      onConnect: async (client) => {
        await prepare(client);
        await this.#listen(client);
      },
      onLost: () => wakeups.isListening = false,
      schemaAdvice,
    }, options);
    const turns = new Turns({ database: work, clock });
    const latest = { atMs: -Infinity, hasPauses: false };
    const shared = this.#shared = { clock, side, turns, wakeups, latest };
    this.#background = new BackgroundWork(observe, "notifications");
    const settler = new RowSettler({ layout, database: work, turns, wakeups }, options);
    const serverTime = new ServerTime(
      { clock, onStep: (byMs) => observe({ type: "clock_stepped", byMs }) },
      options,
    );
    const isOpen = () => this.#closed === undefined;
    this.#claims = new RowClaims({
      ...shared,
      database: work,
      layout,
      settler,
      serverTime,
      isOpen,
      listen: () => this.#keepListening(),
    });
    this.admin = whileOpen(layout.admin(shared), this.#calls);
  }

  subscribe(): Subscription {
    return pullSubscription((request, signal) => this.#claims.receive(request, signal));
  }

  async push(queue: string, payload: Uint8Array, options: PushOptions = {}): Promise<string> {
    const { id, isNew } = await this.#shared.turns.run(this.#layout.push(queue, payload, options));
    if (isNew) this.#shared.wakeups.announce();
    else options.onWaiting?.();
    return id;
  }

  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    const { side, turns, wakeups } = this.#shared;
    // Ends the waits.
    wakeups.announce();
    await Promise.all([this.#claims.ended(), this.#calls.close()]);
    await turns.drain();
    await Promise.all([this.#work.close(), side.close()]);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** The connection for notifications opens with the first receive, and again when it was lost. */
  #keepListening(): void {
    const { side, wakeups } = this.#shared;
    if (this.#layout.channel === undefined || wakeups.isListening) return;
    void this.#background.run(() => side.facts());
  }

  async #listen(client: SqlClient): Promise<void> {
    const { wakeups } = this.#shared;
    if (this.#layout.channel === undefined || client.listen === undefined) return;
    await client.listen(this.#layout.channel, () => wakeups.announce());
    wakeups.isListening = true;
    // A notification before this moment was missed.
    wakeups.announce();
  }
}

/** The parts of the administration that have calls of their own. */
const PARTS: ReadonlySet<string | symbol> = new Set<keyof BrokerAdmin>(["dead", "pauses", "schedule"]);

/** The same parts of the administration: their calls are counted, so that `close` waits for them. */
function whileOpen<Part extends object>(part: Part, calls: Calls): Part {
  return new Proxy(part, {
    get(target, name) {
      const value = target[name as keyof Part] as unknown;
      if (typeof value === "function") {
        return (...args: unknown[]) => calls.run(() => value.apply(target, args));
      }
      return PARTS.has(name) && value !== undefined ? whileOpen(value as object, calls) : value;
    },
  });
}
