import { MESSENGER_POSTGRES } from "../../../../../src/brokers/rows/config/messenger.ts";
import { MESSENGER_CAPABILITIES } from "../../../../../src/brokers/rows/messenger/layout.ts";
import { POSTGRES } from "../../../../../src/sql/postgres.ts";
import { brokerConformance } from "../../../../conformance/suite.ts";
import { ADMINISTRATOR } from "../../../../support/postgres_programs.ts";
import { PostgresServer } from "../../../../support/postgres_server.ts";
import { AS_TEXT, messengerTestBroker } from "./broker.ts";

const server = await PostgresServer.start({ hasMovableClock: true });
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

brokerConformance("messenger_postgres_single", {
  capabilities: MESSENGER_CAPABILITIES,
  ownership: MESSENGER_POSTGRES.ownership("messenger"),
  messages: AS_TEXT,
  start: () => messengerTestBroker(POSTGRES, server, ADMINISTRATOR, "single"),
});
