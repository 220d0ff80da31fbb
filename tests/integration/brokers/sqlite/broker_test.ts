import { brokerConformance } from "../../../conformance/suite.ts";
import { SqliteFileQueue } from "./broker.ts";

brokerConformance("sqlite", {
  capabilities: {
    lease: "timed",
    delay: true,
    priority: true,
    headers: true,
    deadErrors: true,
    schedule: true,
    pauses: "kept",
    repeats: true,
  },
  start: () => SqliteFileQueue.start(),
});
