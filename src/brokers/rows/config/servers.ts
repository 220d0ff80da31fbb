import { parseMysqlUrl, parsePostgresUrl, type SqlUrl } from "../../../sql/address.ts";
import type { SqlDriver } from "../../../sql/driver.ts";
import { MYSQL as MYSQL_DRIVER } from "../../../sql/mysql.ts";
import { POSTGRES as POSTGRES_DRIVER } from "../../../sql/postgres.ts";

/** A database server that can have tables of jobs. */
export interface Server {
  /** Its name in the configuration. */
  readonly name: string;
  readonly driver: SqlDriver;
  readonly parseUrl: (text: string) => SqlUrl;
  /** An address as the value of `url`. */
  readonly example: string;
  /** What starts it. */
  readonly start: string;
  /** Its names as a systemd unit. */
  readonly units: readonly string[];
}

export const POSTGRES_SERVER: Server = {
  name: "postgres",
  driver: POSTGRES_DRIVER,
  parseUrl: parsePostgresUrl,
  example: "postgres://jobs@127.0.0.1:5432/shop",
  start: "systemctl start postgresql",
  units: ["postgresql.service"],
};

export const MYSQL_SERVER: Server = {
  name: "mysql",
  driver: MYSQL_DRIVER,
  parseUrl: parseMysqlUrl,
  example: "mysql://jobs@127.0.0.1:3306/shop",
  start: "systemctl start mariadb",
  units: ["mariadb.service", "mysql.service"],
};

/** The parts of an address; undefined for an invalid one. */
export function urlOf(url: string, { parseUrl }: Pick<Server, "parseUrl">): SqlUrl | undefined {
  try {
    return parseUrl(url);
  } catch {
    return undefined;
  }
}

/** What a valid address is, for an invalid one: in the words of its parser, which never show it, as it may have a password. */
export function expectedUrl(url: string, { parseUrl, example }: Server): string {
  const expected = `expected the address of a database, such as "${example}"`;
  if (url === "") return expected;
  for (const other of [POSTGRES_SERVER, MYSQL_SERVER]) {
    if (urlOf(url, other) !== undefined) return `${expected}; for this address set driver = "${other.name}"`;
  }
  try {
    parseUrl(url);
  } catch (error) {
    if (error instanceof TypeError) return `${expected}; ${error.message}`;
  }
  return expected;
}
