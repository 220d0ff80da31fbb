import { sleep, systemClock } from "../../src/core/time/clock.ts";
import { formatAddress } from "../../src/net/address.ts";
import { eventually } from "../../tests/support/eventually.ts";
import { PostgresServer } from "../../tests/support/postgres_server.ts";

/** The name of every replica at its primary. */
const REPLICA = "replica";
const CONFIG = [
  // Each server is a primary one day, and after a restart its replica finds what it has missed.
  "wal_keep_size = '256MB'",
  "wal_retrieve_retry_interval = '200ms'",
];

/**
 * A primary and its streaming replica, at two addresses that stay. Like a cluster's manager, it has the primary wait for the
 * replica at each commit as soon as there is a replica that streams (`synchronous_commit = on`). So a failover loses nothing
 * that was confirmed.
 */
export class PostgresPair implements AsyncDisposable {
  #primary: PostgresServer;
  #replica: PostgresServer;

  private constructor(primary: PostgresServer, replica: PostgresServer) {
    this.#primary = primary;
    this.#replica = replica;
  }

  static async start(): Promise<PostgresPair> {
    const primary = await PostgresServer.start({ tcp: true, config: CONFIG });
    try {
      return new PostgresPair(primary, await replicaOf(primary, true));
    } catch (error) {
      await primary[Symbol.asyncDispose]();
      throw error;
    }
  }

  get primary(): PostgresServer {
    return this.#primary;
  }

  /** Both servers as in a url. */
  get hosts(): string {
    return [this.#primary, this.#replica].map(({ address }) => formatAddress(address)).join(",");
  }

  /**
   * Kills the primary, and makes the replica the primary. Resolves when there is a new replica in the place of the old primary.
   *
   * @param ms How long nobody notices that the primary is dead.
   */
  async failOver(ms: number): Promise<void> {
    const dead = this.#primary;
    await dead.kill();
    await sleep(systemClock, ms);
    await this.#replica.promote();
    this.#primary = this.#replica;
    await dead[Symbol.asyncDispose]();
    const { address } = dead;
    this.#replica = await replicaOf(this.#primary, address.transport === "tcp" ? address.hostname : true);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#replica[Symbol.asyncDispose]();
    await this.#primary[Symbol.asyncDispose]();
  }
}

/** @param tcp Its address. */
async function replicaOf(primary: PostgresServer, tcp: string | true): Promise<PostgresServer> {
  const replica = await primary.replica({ tcp, config: CONFIG });
  // Not before: until then each commit would wait.
  await primary.sql(`ALTER SYSTEM SET synchronous_standby_names = '${REPLICA}'`);
  await primary.sql("SELECT pg_reload_conf()");
  await eventually(
    "commits wait for the replica",
    async () => await primary.sql("SELECT sync_state FROM pg_stat_replication") === "sync",
  );
  return replica;
}
