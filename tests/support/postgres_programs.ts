/** PostgreSQL's own programs. */

const VERSIONS = "/usr/lib/postgresql";

/** Who needs no password on the unix socket of a {@link PostgresServer}. */
export const ADMINISTRATOR = "postgres";

/**
 * The folder of the programs of the newest version; Debian keeps it off the PATH.
 *
 * @throws {Error} when PostgreSQL is not installed.
 */
export async function findPostgres(): Promise<string> {
  const entries = await Array.fromAsync(Deno.readDir(VERSIONS)).catch(() => []);
  for (const version of entries.map(({ name }) => Number(name)).sort((a, b) => b - a)) {
    const bin = `${VERSIONS}/${version}/bin`;
    if (await Deno.stat(`${bin}/postgres`).then(() => true, () => false)) return bin;
  }
  throw new Error("Cannot find PostgreSQL: run scripts/setup test");
}

/** Where psql connects to. */
export interface PsqlTarget {
  /** The folder of the unix socket. */
  readonly folder: string;
  readonly port: number;
  readonly database: string;
}

/**
 * The command that reads statements from standard input and prints nothing but rows.
 *
 * @param bin From {@link findPostgres}.
 */
export function psql(bin: string, { folder, port, database }: PsqlTarget): readonly string[] {
  return [
    `${bin}/psql`,
    ...["--no-psqlrc", "--no-password", "--quiet", "--no-align", "--tuples-only", "--set=ON_ERROR_STOP=1"],
    ...[`--host=${folder}`, `--port=${port}`, `--username=${ADMINISTRATOR}`, `--dbname=${database}`],
  ];
}
