import { brokerConformance } from "../../../conformance/suite.ts";
import { RedisBroker, sidekiqMessages } from "./broker.ts";

brokerConformance("redis", {
  capabilities: {
    lease: "connection",
    delay: true,
    priority: false,
    headers: false,
    deadErrors: true,
    schedule: true,
    pauses: "kept",
    repeats: true,
  },
  start: () => RedisBroker.start(),
  messages: sidekiqMessages,
});
