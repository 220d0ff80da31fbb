import { SIDEKIQ_CAPABILITIES } from "../../../../src/brokers/sidekiq/broker.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { RedisBroker, sidekiqMessages } from "./broker.ts";

brokerConformance("redis", {
  capabilities: SIDEKIQ_CAPABILITIES,
  isLostByClosing: false,
  start: () => RedisBroker.start(),
  messages: sidekiqMessages,
});
