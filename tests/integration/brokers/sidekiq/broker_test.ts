import { driverConformance } from "../../../conformance/driver_suite.ts";
import { RedisBroker, sidekiqMessages } from "./broker.ts";

driverConformance("redis", {
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
