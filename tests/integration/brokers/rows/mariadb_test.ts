import { FERVO_CAPABILITIES } from "../../../../src/brokers/rows/fervo/layout.ts";
import { MYSQL } from "../../../../src/sql/mysql.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { MariadbServer } from "../../../support/mariadb_server.ts";
import { rowsTestBroker } from "./broker.ts";

const server = await MariadbServer.start({ hasMovableClock: true });
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

brokerConformance("mariadb", {
  capabilities: FERVO_CAPABILITIES,
  ownership: { attempts: "broker", retry: "worker", dead: "broker" },
  start: () => rowsTestBroker(MYSQL, server, "root"),
});
