import { BEANSTALKD_CAPABILITIES } from "../../../../src/brokers/beanstalkd/broker.ts";
import { BEANSTALKD } from "../../../../src/brokers/beanstalkd/config.ts";
import type { TestBroker } from "../../../conformance/fixture.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { parseAddress } from "../../../../src/net/address.ts";
import { Forwarder } from "../../../support/forwarder.ts";
import { Beanstalkd } from "../../../support/beanstalkd.ts";

brokerConformance("beanstalkd", {
  capabilities: BEANSTALKD_CAPABILITIES,
  ownership: BEANSTALKD.ownership("raw"),
  queueNames: ["mail", "Mail", "mail.high-prio/eu_1", "+;.$()", "x".repeat(200)],
  async start(): Promise<TestBroker> {
    const server = await Beanstalkd.start({ hasMovableClock: true });
    const forwarder = await Forwarder.start(server.address);
    const address = parseAddress(forwarder.address);
    return {
      leaseMs: 60_000,
      // Renewals go by the machine's clock, which passTime does not move.
      open: () => Promise.resolve(server.open({ address, ttrMs: 3_600_000 })),
      cutBeforeRemoval: () => void (forwarder.cutBefore = "delete "),
      passTime: (ms) => server.passTime(ms),
      async [Symbol.asyncDispose]() {
        await forwarder[Symbol.asyncDispose]();
        await server[Symbol.asyncDispose]();
      },
    };
  },
});
