import { SQLITE_CAPABILITIES } from "../../../../src/brokers/sqlite/broker.ts";
import { SQLITE } from "../../../../src/brokers/sqlite/config.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { SqliteFileQueue } from "./broker.ts";

brokerConformance("sqlite", {
  capabilities: SQLITE_CAPABILITIES,
  ownership: SQLITE.ownership("raw"),
  start: () => SqliteFileQueue.start(),
});
