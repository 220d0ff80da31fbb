import { MESSENGER_SQLITE } from "../../../../../src/brokers/rows/config/messenger.ts";
import { MESSENGER_CAPABILITIES } from "../../../../../src/brokers/rows/messenger/layout.ts";
import { brokerConformance } from "../../../../conformance/suite.ts";
import { AS_TEXT, messengerSqliteBroker } from "./broker.ts";

brokerConformance("messenger_sqlite", {
  capabilities: MESSENGER_CAPABILITIES,
  ownership: MESSENGER_SQLITE.ownership("messenger"),
  messages: AS_TEXT,
  start: () => messengerSqliteBroker("composite"),
});
