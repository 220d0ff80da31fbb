import { resolve } from "node:path";
import { FervoError, reasonOf } from "../core/errors.ts";
import { fileReason } from "../core/text/file_error.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";
import { makeTemporaryFolder } from "../system/temporary.ts";

/** Directives of one section by name, as `php-fpm -tt` prints them: "undefined" without a value. */
export type Directives = ReadonlyMap<string, string>;

/** php-fpm's configuration as it reads it itself, with included files and defaults. */
export interface FpmSettings {
  /** Of the section [global]. */
  readonly global: Directives;
  /** By the names of the pools. */
  readonly pools: ReadonlyMap<string, Directives>;
  /** The file, if it is a pool's file: [global] and the master's other pools are not in it. */
  readonly poolFile?: string | undefined;
}

/** php-fpm's configuration of one pool. */
export interface PoolSettings {
  readonly own: Directives;
  readonly global: Directives;
  /** The other pools of the same master, by name. */
  readonly others: ReadonlyMap<string, Directives>;
  /** As in {@link FpmSettings}. */
  readonly poolFile: string | undefined;
}

/** The program and the configuration to read. */
export interface FpmSettingsSource {
  /** php-fpm's path. */
  readonly program: string;
  /** Its main configuration file, such as `/etc/php/8.2/fpm/php-fpm.conf`; undefined for the built-in one. */
  readonly file: string | undefined;
}

/** Every configuration is read much faster. */
const READ_TIMEOUT_MS = 10_000;

/**
 * Lets php-fpm print its configuration (`php-fpm -tt`). It serves nothing then.
 *
 * @throws {FervoError} FPM_MISCONFIGURED with php-fpm's own reason, or when it prints nothing; PROCESS_FAILED without a place
 * for a temporary file
 */
export async function readFpmSettings({ program, file }: FpmSettingsSource): Promise<FpmSettings> {
  if (file === undefined) return await ask(program, [], "its configuration");
  const path = resolve(file);
  const text = await Deno.readTextFile(path).catch((cause) => {
    throw new FervoError("FPM_MISCONFIGURED", `Cannot read "${file}": ${fileReason(cause)}`, { cause });
  });
  const folder = await makeTemporaryFolder("fervo-check-");
  const wrapper = `${folder}/php-fpm.conf`;
  try {
    // php-fpm opens its log first, which belongs to the master, and prints nothing above this level.
    await Deno.writeTextFile(
      wrapper,
      `include = ${path}\n[global]\nerror_log = /dev/null\nlog_level = notice\n`,
    );
    const settings = await ask(program, ["-y", wrapper], `"${file}"`);
    return isPoolFile(text) ? { ...settings, poolFile: path } : settings;
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** Whether a file has a pool's section and nothing of the master, like those in pool.d and php-fpm.d. */
export function isPoolFile(text: string): boolean {
  const lines = text.split("\n").map((line) => line.trim()).filter((line) =>
    line !== "" && !line.startsWith(";")
  );
  // Lines before the first section belong to [global], too.
  return lines[0]?.startsWith("[") === true &&
    !lines.some((line) => /^(?:\[global\]|include\s*=)/i.test(line));
}

async function ask(program: string, args: readonly string[], where: string): Promise<FpmSettings> {
  // -R: whether a pool may run as root is not decided here.
  const { success, text } = await run(program, ["-tt", "-R", ...args]);
  const settings = parseFpmSettings(text);
  if (success && settings.pools.size > 0) return settings;
  // The first reason is the cause of the others.
  const reason = /\b(?:ERROR|ALERT): (.*)/.exec(text)?.[1] ??
    (success ? "it prints nothing; is log_level in it above notice?" : text.trim().split("\n")[0]);
  throw new FervoError("FPM_MISCONFIGURED", `"${program}" does not print ${where}: ${reason}`);
}

/** Reads the output of `php-fpm -tt`: `[date] NOTICE: \tname = value`, section by section (fpm_conf.c, fpm_conf_dump). */
export function parseFpmSettings(text: string): FpmSettings {
  const sections = new Map<string, Map<string, string>>();
  let section = new Map<string, string>();
  for (const line of text.split("\n")) {
    const message = /^\[[^\]]*\] NOTICE: (.*)$/.exec(line)?.[1] ?? "";
    const head = /^\[(.+)\]$/.exec(message)?.[1];
    if (head !== undefined) sections.set(head, section = new Map());
    const entry = /^\t([^=]+?) = (.*)$/.exec(message);
    if (entry !== null) section.set(entry[1]!, entry[2]!);
  }
  const global = sections.get("global") ?? new Map();
  sections.delete("global");
  return { global, pools: sections };
}

/** The pool that listens at the address, by name; undefined without one. */
export async function findPool(settings: FpmSettings, address: FastCgiAddress): Promise<string | undefined> {
  if (address.transport === "tcp") return findPort(settings, address.hostname, address.port);
  for (const [name, pool] of settings.pools) {
    if (await listensAt(pool.get("listen") ?? "", address)) return name;
  }
  return undefined;
}

/** Whether a directive such as `listen` may mean the address; for TCP only the port is compared. */
export async function listensAt(listen: string, address: FastCgiAddress): Promise<boolean> {
  if (address.transport === "tcp") return readListen(listen)?.port === address.port;
  return await realPath(listen) === await realPath(address.path);
}

/** Whether two addresses mean the same pool: a socket by another path, this machine by another name. */
export async function isSameAddress(a: FastCgiAddress, b: FastCgiAddress): Promise<boolean> {
  if (a.transport === "unix" && b.transport === "unix") {
    return await realPath(a.path) === await realPath(b.path);
  }
  if (a.transport === "unix" || b.transport === "unix" || a.port !== b.port) return false;
  return a.hostname === b.hostname || (isLocal(a.hostname) && isLocal(b.hostname));
}

function isLocal(hostname: string): boolean {
  return ["localhost", "127.0.0.1", "::1"].includes(hostname);
}

/**
 * Several pools may have the same port on other addresses. The one with this address is meant, else the one on every address,
 * else any: php-fpm may have another name for the host, and a container may publish its port.
 */
function findPort({ pools }: FpmSettings, hostname: string, port: number): string | undefined {
  const found = [...pools].map(([name, pool]) => ({ name, listen: readListen(pool.get("listen") ?? "") }))
    .filter(({ listen }) => listen?.port === port);
  const best = found.find(({ listen }) => listen?.hostname === hostname) ??
    found.find(({ listen }) => listen?.hostname === undefined) ?? found[0];
  return best?.name;
}

/** Where a pool listens: on a port of every address, or of one. Undefined for a unix socket. */
export function readListen(
  listen: string,
): { readonly hostname?: string; readonly port: number } | undefined {
  const match = /^(?:(.*):)?(\d+)$/.exec(listen);
  if (match === null || listen.startsWith("/")) return undefined;
  const port = Number(match[2]);
  const hostname = (match[1] ?? "").replace(/^\[(.*)\]$/, "$1");
  return ["", "*", "0.0.0.0", "::", ":"].includes(hostname) ? { port } : { hostname, port };
}

/** The configuration of the pool at the address; undefined without one. */
export async function poolSettings(
  settings: FpmSettings,
  address: FastCgiAddress,
): Promise<PoolSettings | undefined> {
  const name = await findPool(settings, address);
  if (name === undefined) return undefined;
  const { global, pools, poolFile } = settings;
  const others = new Map([...pools].filter(([other]) => other !== name));
  return { own: pools.get(name)!, global, others, poolFile };
}

/** A directive's value; undefined if php-fpm prints that it is not set. */
export function valueOf(directives: Directives, name: string): string | undefined {
  const value = directives.get(name);
  return value === "undefined" ? undefined : value;
}

async function realPath(path: string): Promise<string> {
  return await Deno.realPath(path).catch(() => path);
}

async function run(program: string, args: readonly string[]): Promise<{ success: boolean; text: string }> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args: [...args],
      // The current folder may be closed to its user, or gone.
      cwd: "/",
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
      signal: AbortSignal.timeout(READ_TIMEOUT_MS),
    }).output();
    const utf8 = new TextDecoder();
    return { success, text: `${utf8.decode(stderr)}${utf8.decode(stdout)}` };
  } catch (cause) {
    const reason = cause instanceof Deno.errors.NotFound ? "no such program" : reasonOf(cause);
    throw new FervoError("FPM_MISCONFIGURED", `Cannot run "${program}": ${reason}`, { cause });
  }
}
