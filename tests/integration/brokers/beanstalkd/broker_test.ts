import { BEANSTALKD_CAPABILITIES } from "../../../../src/brokers/beanstalkd/broker.ts";
import type { TestBroker } from "../../../conformance/fixture.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { Beanstalkd } from "../../../support/beanstalkd.ts";

brokerConformance("beanstalkd", {
  capabilities: BEANSTALKD_CAPABILITIES,
  queueNames: ["mail", "Mail", "mail.high-prio/eu_1", "+;.$()", "x".repeat(200)],
  async start(): Promise<TestBroker> {
    const server = await Beanstalkd.start({ hasMovableClock: true });
    return {
      leaseMs: 60_000,
      // Renewals go by the machine's clock, which passTime does not move.
      open: () => Promise.resolve(server.open({ ttrMs: 3_600_000 })),
      passTime: (ms) => server.passTime(ms),
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  },
});
