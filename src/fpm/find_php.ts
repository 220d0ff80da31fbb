import { FervoError } from "../core/errors.ts";

/** The PHP of a machine: php-fpm, and the command line PHP of the same version, if any. */
export interface Php {
  /** Path of php-fpm. */
  readonly fpm: string;
  /** Its own version, e.g. `8.2.29`. */
  readonly fpmVersion: string;
  /** Path of the command line PHP; undefined without one of php-fpm's version. */
  readonly cli: string | undefined;
  readonly cliVersion: string | undefined;
}

/** Distributions keep php-fpm there, and not every user's PATH has these folders. */
const SBIN_FOLDERS = ["/usr/local/sbin", "/usr/sbin", "/sbin"];
const FPM_NAME = /^php-fpm(?:-?(\d+)\.?(\d+))?$/;

/**
 * Finds the newest php-fpm (`php-fpm8.2`, `php-fpm`) in the folders of `path` and in system folders, and its command line PHP
 * (`php8.2`, `php`).
 *
 * @param path Folders separated by ":", as in PATH.
 * @throws {FervoError} FASTCGI_CONNECT_FAILED without php-fpm, with what to install.
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

/** The path of the newest php-fpm, by its name alone: nothing is run. Undefined without one. */
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
      // PATH may have missing or unreadable folders.
    }
  }
  return found.sort((a, b) => b.version - a.version).map(({ path }) => path);
}

/** The program's own version; undefined when it is not PHP, or cannot be run. */
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
