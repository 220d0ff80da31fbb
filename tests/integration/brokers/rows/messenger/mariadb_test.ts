import { MESSENGER_MYSQL } from "../../../../../src/brokers/rows/config/messenger.ts";
import { MESSENGER_CAPABILITIES } from "../../../../../src/brokers/rows/messenger/layout.ts";
import { MYSQL } from "../../../../../src/sql/mysql.ts";
import { brokerConformance } from "../../../../conformance/suite.ts";
import { MariadbServer } from "../../../../support/mariadb_server.ts";
import { AS_TEXT, messengerTestBroker } from "./broker.ts";

const server = await MariadbServer.start({ hasMovableClock: true });
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

brokerConformance("messenger_mariadb", {
  capabilities: MESSENGER_CAPABILITIES,
  ownership: MESSENGER_MYSQL.ownership("messenger"),
  messages: AS_TEXT,
  // The collation of the column takes names that differ in case for one, for Symfony as well.
  queueNames: ["mail", "mail.high-prio:eu/1", "größe 😀", `it's "quoted"`, "%"],
  start: () => messengerTestBroker(MYSQL, server, "root", "composite"),
});
