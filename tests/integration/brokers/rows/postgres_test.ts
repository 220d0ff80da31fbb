import { FERVO_CAPABILITIES } from "../../../../src/brokers/rows/fervo/layout.ts";
import { POSTGRES } from "../../../../src/sql/postgres.ts";
import { brokerConformance } from "../../../conformance/suite.ts";
import { PostgresServer } from "../../../support/postgres_server.ts";
import { ADMINISTRATOR } from "../../../support/postgres_programs.ts";
import { rowsTestBroker } from "./broker.ts";

const server = await PostgresServer.start({ hasMovableClock: true });
Deno.test.afterAll(() => server[Symbol.asyncDispose]());

brokerConformance("postgres", {
  capabilities: FERVO_CAPABILITIES,
  ownership: { attempts: "broker", retry: "worker", dead: "broker" },
  start: () => rowsTestBroker(POSTGRES, server, ADMINISTRATOR),
});
