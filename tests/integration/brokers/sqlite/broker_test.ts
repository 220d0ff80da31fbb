import { SQLITE_CAPABILITIES } from "../../../../src/brokers/sqlite/broker.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { SqliteFileQueue } from "./broker.ts";

brokerConformance("sqlite", {
  capabilities: SQLITE_CAPABILITIES,
  start: () => SqliteFileQueue.start(),
});
