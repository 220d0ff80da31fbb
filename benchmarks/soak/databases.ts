import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { formatAddress } from "../../src/net/address.ts";
import { MariadbServer } from "../../tests/support/mariadb_server.ts";
import type { Failure, SoakBroker } from "./broker.ts";
import { PostgresPair } from "./postgres_pair.ts";

/** Of producers and workers, beside the administrator's. */
const USER = "jobs";
const DATABASE = "soak";
const LEASE_MS = 5_000;

/** What a database can do to its clients. */
interface Faulty {
  kill(): Promise<void>;
  restart(): Promise<void>;
  signal(signal: "SIGSTOP" | "SIGCONT"): Promise<void> | void;
  /** Ends all connections of producers and workers. */
  endConnections(): Promise<unknown>;
}

/** PostgreSQL with a synchronous replica, which takes over when the primary dies. */
export async function postgres(): Promise<SoakBroker> {
  const pair = await PostgresPair.start();
  await pair.primary.sql(`CREATE USER ${USER}`);
  await pair.primary.sql(`CREATE DATABASE ${DATABASE} OWNER ${USER}`);
  return {
    ...rows("postgres", `postgres://${USER}@${pair.hosts}/${DATABASE}`),
    failures: [
      ...failures("PostgreSQL", () => ({
        kill: () => pair.primary.kill(),
        restart: () => pair.primary.restart(),
        signal: (signal) => pair.primary.signal(signal),
        endConnections: () =>
          pair.primary.sql(
            `SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE usename = '${USER}'`,
          ),
      })),
      {
        what: "PostgreSQL is killed for good, and its replica is promoted",
        weight: 2,
        begin: (ms) => pair.failOver(ms),
      },
    ],
    [Symbol.asyncDispose]: () => pair[Symbol.asyncDispose](),
  };
}

export async function mysql(): Promise<SoakBroker> {
  const server = await MariadbServer.start({ tcp: true });
  await server.sql(`CREATE DATABASE ${DATABASE}`);
  await server.sql(`CREATE USER ${USER}@'%'`);
  await server.sql(`GRANT ALL ON ${DATABASE}.* TO ${USER}@'%'`);
  return {
    ...rows("mysql", `mysql://${USER}@${formatAddress(server.address)}/${DATABASE}`),
    failures: failures("MariaDB", () => ({
      kill: () => server.kill(),
      restart: () => server.restart(),
      signal: (signal) => server.signal(signal),
      endConnections: () => server.sql(`KILL USER ${USER}`),
    })),
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

function rows(
  driver: string,
  url: string,
): Pick<SoakBroker, "table" | "message" | "recoveryMs" | "hasWorkersClock"> {
  return {
    table: `driver = "${driver}"\nurl = "${url}"\nlease_ms = ${LEASE_MS}`,
    message: (payload) => payload,
    recoveryMs: 2 * LEASE_MS,
    hasWorkersClock: false,
  };
}

function failures(product: string, server: () => Faulty): readonly Failure[] {
  return [
    {
      what: `${product} is killed, and started again`,
      weight: 2,
      begin: async (ms) => {
        await server().kill();
        await sleep(systemClock, ms);
        await server().restart();
      },
    },
    {
      what: `${product} stands still for longer than a lease`,
      weight: 1,
      begin: async (ms) => {
        await server().signal("SIGSTOP");
        await sleep(systemClock, LEASE_MS + ms);
        await server().signal("SIGCONT");
      },
    },
    {
      what: `an administrator ends all connections to ${product}`,
      weight: 3,
      begin: async () => {
        await server().endConnections();
      },
    },
  ];
}
