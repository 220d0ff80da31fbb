import type { BrokerFindingId, FindingText } from "../../../core/finding.ts";

type Texts = Readonly<Record<BrokerFindingId, FindingText>>;

/** The documentation of the findings about a PostgreSQL server. */
export const POSTGRES_TEXTS: Texts = {
  "postgres.version": { looksAt: "PostgreSQL is of version 12 or newer." },
  "postgres.pooler": {
    looksAt:
      "No pooler such as PgBouncer is between the worker and the server. Behind one there are no notifications, and a waiting worker looks for jobs once a second.",
  },
  "postgres.isolation": { looksAt: "The worker's transactions are read committed." },
  "postgres.columns": {
    looksAt: "The table of jobs has all columns, of the right types, and required ones are not NULL.",
  },
  "postgres.indexes": {
    looksAt:
      "The table of jobs has all indexes, of any name. `fix` is the statement that adds a missing one while the table is in use.",
  },
  "postgres.durability": {
    looksAt:
      "What is committed outlives a crash: `fsync`, `full_page_writes` and `synchronous_commit` are on, and the table is not unlogged.",
  },
  "postgres.autovacuum": { looksAt: "Autovacuum runs on the table of jobs. Each job leaves dead rows." },
  "postgres.bloat": {
    looksAt: "The table of jobs has at most 100,000 dead rows, or fewer dead than live ones.",
  },
  "postgres.xmin_horizon": {
    looksAt:
      "No transaction, prepared transaction or replication slot keeps VACUUM from removing dead rows for more than an hour or a million transactions. " +
      "When a transaction of another user began is not known without `pg_read_all_stats`; its age in transactions is.",
  },
  "postgres.connections": { looksAt: "Fewer than 80 % of the connections are in use." },
  "postgres.clock": { looksAt: "The server's clock agrees with this machine's within 5 seconds." },
  "postgres.rights": {
    looksAt: "The user has every right that a worker needs. With `create_tables`, CREATE is one of them.",
  },
};

/** The documentation of the findings about a MariaDB or MySQL server. */
export const MYSQL_TEXTS: Texts = {
  "mysql.version": {
    looksAt:
      "The server has `SKIP LOCKED` and descending indexes: MariaDB 10.8, MySQL 8.0.17 or newer. Older MariaDB works, slower.",
  },
  "mysql.isolation": { looksAt: "The worker's transactions are READ COMMITTED." },
  "mysql.strictness": { looksAt: "`sql_mode` of the worker's session is strict: no value is cut." },
  "mysql.binlog_format": {
    looksAt:
      "`binlog_format` is not STATEMENT while the binary log is on. With it the server refuses the worker's writes.",
  },
  "mysql.engine": { looksAt: "The engine of the table of jobs is InnoDB." },
  "mysql.columns": {
    looksAt: "The table of jobs has all columns, of the right types, and required ones are not NULL.",
  },
  "mysql.indexes": {
    looksAt:
      "The table of jobs has all indexes, of any name. `fix` is the statement that adds a missing one.",
  },
  "mysql.durability": {
    looksAt: "What is committed outlives a crash: `innodb_flush_log_at_trx_commit` is 1.",
  },
  "mysql.max_allowed_packet": {
    looksAt: "`max_allowed_packet` is at least `max_payload_bytes`. The push of a larger payload is refused.",
  },
  "mysql.history": {
    looksAt:
      "The purge of InnoDB keeps up: its history list has at most a million transactions. On MySQL it is not known without the right PROCESS.",
  },
  "mysql.connections": { looksAt: "Fewer than 80 % of the connections are in use." },
  "mysql.clock": { looksAt: "The server's clock agrees with this machine's within 5 seconds." },
  "mysql.rights": {
    looksAt: "The user has every right that a worker needs. With `create_tables`, CREATE is one of them.",
  },
};
