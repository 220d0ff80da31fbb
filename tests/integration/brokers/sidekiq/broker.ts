import type { BrokerFixture, TestBroker } from "../../../conformance/fixture.ts";
import { type Clock, systemClock } from "../../../../src/core/time/clock.ts";
import { sidekiq7 } from "../../../../src/formats/sidekiq.ts";
import {
  DEFAULT_REDIS_OPTIONS,
  SidekiqBroker,
  type SidekiqBrokerDeps,
  type SidekiqBrokerOptions,
} from "../../../../src/brokers/sidekiq/broker.ts";
import { newId } from "../../../../src/brokers/sidekiq/delivery.ts";
import { MovableClock } from "../../../support/movable_clock.ts";
import { RedisServer } from "../../../support/redis_server.ts";

/** Opens the queues of a server with the machine's clock and the default options, unless told otherwise. */
export function openRedis(
  server: RedisServer,
  { clock = systemClock, format = sidekiq7, owner = newOwner(), ...more }: OpenRedisOptions = {},
): SidekiqBroker {
  const { process, onSignal, observe, ...options } = more;
  return SidekiqBroker.open(
    {
      clock,
      owner,
      format,
      ...(process && { process }),
      ...(onSignal && { onSignal }),
      ...(observe && { observe }),
    },
    {
      ...DEFAULT_REDIS_OPTIONS,
      target: { kind: "server", endpoint: { transport: "unix", path: server.socket } },
      ...options,
    },
  );
}

export type OpenRedisOptions = Partial<SidekiqBrokerOptions> & Partial<SidekiqBrokerDeps> & { clock?: Clock };

/** An identity as the application gives it. */
export function newOwner(): string {
  return `${Deno.hostname()}:${Deno.pid}:${newId().slice(0, 12)}`;
}

/** How the conformance suite's payloads travel: as the only argument of a job. */
export const sidekiqMessages: NonNullable<BrokerFixture["messages"]> = {
  encode: (payload) => new TextEncoder().encode(`{"class":"Suite","args":["${payload.toBase64()}"]}`),
  decode(raw) {
    const { args } = JSON.parse(new TextDecoder().decode(raw)) as { args: [string] };
    return Uint8Array.fromBase64(args[0]);
  },
};

/** A server for the conformance suite. */
export class RedisBroker implements TestBroker {
  /** Longer than any test: it ends by the server's clock, which no test can move. */
  readonly leaseMs = 60_000;
  readonly server: RedisServer;
  readonly #clock = new MovableClock();

  private constructor(server: RedisServer) {
    this.server = server;
  }

  static async start(): Promise<RedisBroker> {
    return new RedisBroker(await RedisServer.start());
  }

  open(): Promise<SidekiqBroker> {
    return Promise.resolve(openRedis(this.server, { clock: this.#clock, leaseMs: this.leaseMs }));
  }

  passTime(ms: number): Promise<void> {
    this.#clock.moveAhead(ms);
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.server[Symbol.asyncDispose]();
  }
}
