import type { Finding } from "../core/finding.ts";
import { findCli, seriesOf } from "../fpm/find_php.ts";
import type { PhpFacts } from "./messenger_facts.ts";

/** Prints PHP's settings, whose names are the arguments, and its extensions. */
const ASK =
  `echo json_encode(["version" => PHP_VERSION, "extensions" => array_map("strtolower", get_loaded_extensions()),
"settings" => array_map("strval", array_intersect_key(array_map(fn ($one) => $one["global_value"], ini_get_all(null, true)), array_flip(array_slice($argv, 1))))]);`;

/** A name of a setting: nothing else becomes an argument. */
const SETTING = /^[A-Za-z][\w.]*$/;

/** Extensions of one of the two alone. */
const OWN_EXTENSIONS: ReadonlySet<string> = new Set(["readline", "pcntl", "cgi-fcgi", "zend opcache"]);

/** PHP's command line of the pool's version, as it starts; undefined when this machine has none. */
export async function commandLinePhp(pool: PhpFacts, path: string): Promise<PhpFacts | undefined> {
  const cli = await findCli(path, seriesOf(pool.version));
  if (cli === undefined) return undefined;
  const names = Object.keys(pool.settings).filter((name) => SETTING.test(name));
  const { success, stdout } = await new Deno.Command(cli.path, {
    args: ["-r", ASK, "--", ...names],
    cwd: "/",
    stdin: "null",
    stderr: "null",
  }).output();
  if (!success) return undefined;
  try {
    return JSON.parse(new TextDecoder().decode(stdout));
  } catch {
    // It prints something else as well, such as a warning of its configuration.
    return undefined;
  }
}

/**
 * The differences between PHP in the pool, which runs messages now, and on the command line, where messenger:consume ran them.
 *
 * @param cli Undefined when it is not known.
 */
export function commandLineFindings(pool: PhpFacts, cli: PhpFacts | undefined): Finding[] {
  const id = "php.command_line";
  if (cli === undefined) {
    return [{
      id,
      severity: "notice",
      what: `PHP ${
        seriesOf(pool.version)
      } of the command line was not found on this machine: its settings are not compared`,
      why: "messages ran with them in messenger:consume",
      fix: "run check where messenger:consume runs, with php in the PATH",
    }];
  }
  const findings = Object.entries(pool.settings).flatMap(([name, value]) => {
    const other = cli.settings[name];
    return other === undefined || isSame(value, other) ? [] : [difference(name, value, other)];
  });
  const missing = cli.extensions.filter((one) => !pool.extensions.includes(one) && !OWN_EXTENSIONS.has(one));
  if (missing.length > 0) {
    findings.push({
      id,
      severity: "warning",
      what: `PHP has extensions on the command line and not in the pool: ${missing.join(", ")}`,
      why: "a handler that uses them fails with a fatal error",
      fix: "enable them for php-fpm, on Debian with: phpenmod -s fpm NAME",
    });
  }
  return findings.length > 0 ? findings : [{
    id,
    severity: "ok",
    what: "PHP has the same settings and extensions in the pool and on the command line",
  }];
}

function difference(name: string, value: string, other: string): Finding {
  const what = `${name} is ${shown(value)} in the pool, and ${shown(other)} on the command line`;
  const fix = `in the pool: php_admin_value[${name}] = ${other}`;
  // No limit is what php.memory_limit warns of.
  if (name === "memory_limit" && (other === "-1" || (value !== "-1" && bytesOf(value) > bytesOf(other)))) {
    return {
      id: "php.command_line",
      severity: "notice",
      what,
      why: "a message that needs more memory than the pool allows ran in messenger:consume, and fails now",
      fix: "in the pool: php_admin_value[memory_limit] = as much as one message needs",
    };
  }
  return {
    id: "php.command_line",
    severity: "warning",
    what,
    why: "handlers can behave differently than in messenger:consume",
    fix,
  };
}

/** On, yes, true and 1 are the same; no value is Off. */
function isSame(value: string, other: string): boolean {
  const plain = (text: string) => {
    const small = text.trim().toLowerCase();
    if (["on", "yes", "true"].includes(small)) return "1";
    return ["off", "no", "false", "0"].includes(small) ? "" : small;
  };
  return value === other || plain(value) === plain(other);
}

function bytesOf(limit: string): number {
  const [, number, unit] = /^\s*(-?\d+)\s*([kmg]?)/i.exec(limit) ?? [];
  return Number(number ?? 0) * 1_024 ** ["", "k", "m", "g"].indexOf((unit ?? "").toLowerCase());
}

function shown(value: string): string {
  return value === "" ? "empty" : `"${value}"`;
}
