import type { Subscription } from "../core/broker.ts";

/** For a broker that hands out jobs only on request: there is nothing to give back. */
export function pullSubscription(receive: Subscription["receive"]): Subscription {
  return {
    receive,
    resize() {},
    stop: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
