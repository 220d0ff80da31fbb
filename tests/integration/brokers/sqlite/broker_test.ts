import { driverConformance } from "../../../conformance/driver_suite.ts";
import { SqliteBroker } from "./broker.ts";

driverConformance("sqlite", {
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
  start: () => SqliteBroker.start(),
});
