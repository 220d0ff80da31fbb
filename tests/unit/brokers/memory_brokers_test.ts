/** Two brokers in memory, as unlike as can be: the contract holds for both, so that it is none of the brokers that there are. */
import { brokerConformance } from "../../conformance/suite.ts";
import {
  AWKWARD_CAPABILITIES,
  AWKWARD_OWNERSHIP,
  AwkwardBroker,
  AwkwardServer,
} from "../../support/brokers/awkward.ts";
import { PLAIN_CAPABILITIES, PLAIN_OWNERSHIP, PlainBroker, PlainStore } from "../../support/brokers/plain.ts";
import { MovableClock } from "../../support/movable_clock.ts";

const LEASE_MS = 60_000;

brokerConformance("plain", {
  capabilities: PLAIN_CAPABILITIES,
  ownership: PLAIN_OWNERSHIP,
  start() {
    const clock = new MovableClock();
    const store = new PlainStore(clock);
    return Promise.resolve({
      leaseMs: LEASE_MS,
      open: () => Promise.resolve(new PlainBroker(store, { leaseMs: LEASE_MS })),
      passTime: (ms) => Promise.resolve(clock.moveAhead(ms)),
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  },
});

brokerConformance("awkward", {
  capabilities: AWKWARD_CAPABILITIES,
  ownership: AWKWARD_OWNERSHIP,
  start() {
    const clock = new MovableClock();
    const server = new AwkwardServer(clock);
    return Promise.resolve({
      leaseMs: LEASE_MS,
      open: () => Promise.resolve(new AwkwardBroker(server)),
      inspect: server,
      cutBeforeRemoval: () => void (server.failsAtRemoval = true),
      passTime(ms) {
        clock.moveAhead(ms);
        server.send();
        return Promise.resolve();
      },
      [Symbol.asyncDispose]: () => Promise.resolve(),
    });
  },
});
