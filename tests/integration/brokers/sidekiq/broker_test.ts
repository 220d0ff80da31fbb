import { SIDEKIQ_CAPABILITIES } from "../../../../src/brokers/sidekiq/broker.ts";
import { SIDEKIQ } from "../../../../src/brokers/sidekiq/config.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { RedisBroker, sidekiqMessages } from "./broker.ts";

brokerConformance("redis", {
  capabilities: SIDEKIQ_CAPABILITIES,
  ownership: SIDEKIQ.ownership("sidekiq7"),
  isLostByClosing: false,
  start: () => RedisBroker.start(),
  messages: sidekiqMessages,
});
