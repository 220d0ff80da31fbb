import type { Subscription } from "../core/broker.ts";

/** Of a broker that gives jobs only when it is asked: nothing is on its way in between, and nothing is to be given back. */
export function pullSubscription(receive: Subscription["receive"]): Subscription {
  return {
    receive,
    resize() {},
    stop: () => Promise.resolve(),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}
