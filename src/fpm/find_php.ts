import { FervoError } from "../core/errors.ts";

/** The PHP of a machine: php-fpm, and the command line of the same version where there is one. */
export interface Php {
  /** Path of php-fpm. */
  readonly fpm: string;
  /** As it says itself, e.g. `8.2.29`. */
  readonly fpmVersion: string;
  /** Path of the command line PHP; undefined when there is none of php-fpm's version. */
  readonly cli: string | undefined;
  readonly cliVersion: string | undefined;
}

/** Where distributions keep php-fpm, which is not in every user's PATH. */
const SBIN_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
const FPM_NAME = /^php-fpm(?:-?(\d+)\.?(\d+))?$/;

/**
 * Finds the newest php-fpm (`php-fpm8.2`, `php-fpm`) in the folders of `path` and those of system programs, and the
 * command line PHP (`php8.2`, `php`) that belongs to it.
 *
 * @param path Folders separated by ":", as in PATH.
 * @throws {FervoError} FASTCGI_CONNECT_FAILED when there is no php-fpm, with what to install.
 */
export async function findPhp(path: string, sbinFolders = SBIN_FOLDERS): Promise<Php> {
  const folders = foldersOf(path, sbinFolders);
  for (const fpm of await programs(folders, FPM_NAME)) {
    const fpmVersion = await versionOf(fpm);
    if (fpmVersion === undefined) continue;
    const cli = await findCli(folders.join(":"), seriesOf(fpmVersion));
    return { fpm, fpmVersion, cli: cli?.path, cliVersion: cli?.version };
  }
  throw new FervoError(
    "FASTCGI_CONNECT_FAILED",
    `Cannot find php-fpm in "${
      folders.join(":")
    }": install PHP, e.g. "apt-get install php-fpm php-cli" on Debian and ` +
      `Ubuntu, "dnf install php-fpm php-cli" on Fedora, or measure a php-fpm of yours with --config`,
  );
}

/** The path of the newest php-fpm, by its name alone: nothing is run. Undefined when there is none. */
export async function newestFpm(path: string, sbinFolders = SBIN_FOLDERS): Promise<string | undefined> {
  return (await programs(foldersOf(path, sbinFolders), FPM_NAME))[0];
}

function foldersOf(path: string, sbinFolders: readonly string[]): string[] {
  return [...new Set([...path.split(":").filter((folder) => folder.startsWith("/")), ...sbinFolders])];
}

/**
 * The command line PHP.
 *
 * @param path Folders separated by ":", as in PATH.
 * @param series Only of this version, e.g. `8.2`.
 */
export async function findCli(
  path: string,
  series?: string,
): Promise<{ path: string; version: string } | undefined> {
  for (const program of await programs(path.split(":"), /^php(?:-?(\d+)\.?(\d+))?$/)) {
    const version = await versionOf(program);
    if (version !== undefined && (series === undefined || seriesOf(version) === series)) {
      return { path: program, version };
    }
  }
  return undefined;
}

/** `8.2` of `8.2.29`. */
export function seriesOf(version: string): string {
  return version.split(".", 2).join(".");
}

/** Files of that name, the newest version first. */
async function programs(folders: readonly string[], name: RegExp): Promise<string[]> {
  const found: { path: string; version: number }[] = [];
  for (const folder of folders) {
    try {
      for await (const entry of Deno.readDir(folder)) {
        const match = name.exec(entry.name);
        if (match === null) continue;
        found.push({
          path: `${folder}/${entry.name}`,
          version: 1_000 * Number(match[1] ?? 0) + Number(match[2] ?? 0),
        });
      }
    } catch {
      // PATH may name folders that do not exist or that are not ours to read.
    }
  }
  return found.sort((a, b) => b.version - a.version).map(({ path }) => path);
}

/** What the program says of itself; undefined when it is no PHP, or not ours to run. */
export async function versionOf(program: string): Promise<string | undefined> {
  try {
    const { stdout } = await new Deno.Command(program, {
      args: ["-n", "-v"],
      cwd: "/",
      stdin: "null",
      stderr: "null",
    })
      .output();
    return /^PHP (\d+\.\d+\S*)/.exec(new TextDecoder().decode(stdout))?.[1];
  } catch {
    return undefined;
  }
}
