import { resolve } from "node:path";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";

/** php-fpm's configuration as it reads it itself, included files and defaults and all. */
export interface FpmSettings {
  /** Of the section [global]. */
  readonly global: ReadonlyMap<string, string>;
  /** By the pools' names; each with all its directives, "undefined" where one is not set. */
  readonly pools: ReadonlyMap<string, ReadonlyMap<string, string>>;
}

/** Which program to ask about which configuration. */
export interface FpmSettingsSource {
  /** php-fpm's path. */
  readonly program: string;
  /** Its main configuration file, as `/etc/php/8.2/fpm/php-fpm.conf`; undefined for the one that it was built with. */
  readonly file: string | undefined;
}

/** No configuration takes nearly as long to read. */
const READ_TIMEOUT_MS = 10_000;

/**
 * Asks php-fpm what it reads in its configuration (`php-fpm -tt`). It serves nothing then.
 *
 * @throws {FervoError} FPM_MISCONFIGURED with php-fpm's own reason, or when it does not tell
 */
export async function readFpmSettings({ program, file }: FpmSettingsSource): Promise<FpmSettings> {
  if (file === undefined) return await ask(program, [], "its configuration");
  const path = resolve(file);
  const wrapper = await Deno.makeTempFile({ prefix: "fervo-check-", suffix: ".conf" });
  try {
    await Deno.stat(path);
    // It opens its log first, which is the master's and not ours to write, and tells nothing above this level.
    await Deno.writeTextFile(
      wrapper,
      `include = ${path}\n[global]\nerror_log = /dev/null\nlog_level = notice\n`,
    );
    return await ask(program, ["-y", wrapper], `"${file}"`);
  } catch (error) {
    if (error instanceof FervoError) throw error;
    const reason = error instanceof Deno.errors.NotFound ? "no such file" : reasonOf(error);
    throw new FervoError("FPM_MISCONFIGURED", `Cannot read "${file}": ${reason}`, { cause: error });
  } finally {
    await Deno.remove(wrapper);
  }
}

async function ask(program: string, args: readonly string[], where: string): Promise<FpmSettings> {
  // -R: a pool that runs as root is for others to judge.
  const { success, text } = await run(program, ["-tt", "-R", ...args]);
  const settings = parseFpmSettings(text);
  if (success && settings.pools.size > 0) return settings;
  // The first reason is the cause of the others.
  const reason = /\b(?:ERROR|ALERT): (.*)/.exec(text)?.[1] ??
    (success ? "it prints nothing; is log_level in it above notice?" : text.trim().split("\n")[0]);
  throw new FervoError("FPM_MISCONFIGURED", `"${program}" does not tell ${where}: ${reason}`);
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

/** The pool that listens at the address, by its name; undefined when none does. */
export async function findPool(settings: FpmSettings, address: FastCgiAddress): Promise<string | undefined> {
  const wanted = address.transport === "unix" ? await realPath(address.path) : undefined;
  for (const [name, pool] of settings.pools) {
    const listen = pool.get("listen") ?? "";
    if (wanted === undefined ? isPort(listen, address) : await realPath(listen) === wanted) return name;
  }
  return undefined;
}

/** Of a TCP address only the port is compared: php-fpm may listen on every address, or have another name for its host. */
function isPort(listen: string, address: FastCgiAddress): boolean {
  return address.transport === "tcp" && /^(?:.*:)?(\d+)$/.exec(listen)?.[1] === String(address.port);
}

async function realPath(path: string): Promise<string> {
  return await Deno.realPath(path).catch(() => path);
}

async function run(program: string, args: readonly string[]): Promise<{ success: boolean; text: string }> {
  try {
    const { success, stdout, stderr } = await new Deno.Command(program, {
      args: [...args],
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
