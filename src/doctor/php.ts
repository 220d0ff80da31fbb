import type { Finding } from "../core/finding.ts";
import type { RequestLimit } from "./expected_pool.ts";
import type { Directives } from "../fpm/settings.ts";

/**
 * PHP's settings from the front controller, by `ini_get`; false for a setting that PHP does not know, for instance without its
 * extension.
 */
export type PhpSettings = Readonly<Record<string, string | false>>;

/** The parts of the configuration that decide how much a PHP setting matters. */
export interface PhpExpectations {
  /** The consumers with `ack_on = "status"`, by name. */
  readonly ackOnStatus: readonly string[];
  readonly limit: RequestLimit;
  /** Settings that the pool has fixed (php_admin_value), if known: no script can change them. */
  readonly fixed: ReadonlySet<string>;
}

/** The header of a front controller's answer to FERVO_CHECK; see docs/protocol.md. */
export const CHECK_HEADER = "x-fervo-check";

/** Reads the header's value: a JSON object. Undefined when it is invalid. */
export function readPhpSettings(header: string | undefined): PhpSettings | undefined {
  try {
    const settings: unknown = JSON.parse(header ?? "");
    if (typeof settings !== "object" || settings === null || Array.isArray(settings)) return undefined;
    return Object.fromEntries(
      Object.entries(settings).filter(([, value]) => typeof value === "string" || value === false),
    ) as PhpSettings;
  } catch {
    return undefined;
  }
}

/** The finding without PHP's settings. */
export function unknownSettings(how: string, names: readonly string[] = Object.keys(RULES)): Finding {
  return {
    id: "php.settings",
    severity: "notice",
    what: `PHP's settings (${names.join(", ")}) are unknown`,
    fix: how,
  };
}

/** PHP's settings in a pool, and the fixed ones among them. */
export function poolPhpSettings(own: Directives): { settings: PhpSettings; fixed: ReadonlySet<string> } {
  const settings: Record<string, string> = {};
  const fixed = new Set<string>();
  for (const [directive, value] of own) {
    const [, admin, name] = /^php_(admin_)?value\[(.+)\]$/.exec(directive) ?? [];
    if (name === undefined || fixed.has(name)) continue;
    settings[name] = value;
    if (admin !== undefined) fixed.add(name);
  }
  return { settings, fixed };
}

/**
 * Judges the pool's PHP settings; those of php.ini are unknown. A front controller lifts max_execution_time, unless the pool
 * has fixed it.
 *
 * @param how How to learn the others.
 */
export function poolPhpFindings(own: Directives, expected: PhpExpectations, how: string): Finding[] {
  const { settings, fixed } = poolPhpSettings(own);
  const told = Object.fromEntries(
    Object.entries(settings).filter(([name]) => name !== "max_execution_time" || fixed.has(name)),
  );
  const unknown = Object.keys(RULES).filter((name) => told[name] === undefined);
  return [
    ...judge(told, { ...expected, fixed }),
    ...(unknown.length === 0 ? [] : [unknownSettings(how, unknown)]),
  ];
}

/** Judges PHP's settings, and reports missing ones as unknown. */
export function phpFindings(settings: PhpSettings, expected: PhpExpectations): Finding[] {
  const missing = Object.keys(RULES).filter((name) => settings[name] === undefined);
  const findings = judge(settings, expected);
  if (missing.length === 0) return findings;
  const unknown: Finding = {
    id: "php.settings",
    severity: "notice",
    what: `the script does not report ${missing.join(", ")}`,
    fix: "in the script: answer FERVO_CHECK as docs/protocol.md says",
  };
  return [...findings, unknown];
}

function judge(settings: PhpSettings, expected: PhpExpectations): Finding[] {
  return Object.entries({ ...RULES, ...FURTHER_RULES }).flatMap(([name, rule]) => {
    const value = settings[name];
    return value === undefined ? [] : rule(value, expected, settings);
  });
}

type Rule = (value: string | false, expected: PhpExpectations, all: PhpSettings) => Finding[];

const RULES: Readonly<Record<string, Rule>> = {
  display_errors: (value, { ackOnStatus }) => {
    const id = "php.display_errors";
    // "stderr" counts as on in php-fpm: only the command line knows the difference (main.c).
    if (!isOn(value)) return [{ id, severity: "ok", what: "display_errors is off" }];
    const fix = "in the pool: php_admin_flag[display_errors] = off";
    const what = "display_errors is on";
    return ackOnStatus.length > 0
      ? [{
        id,
        severity: "error",
        code: "FPM_MISCONFIGURED",
        what: `${what}, with ack_on = "status" (${ackOnStatus.map((name) => `"${name}"`).join(", ")})`,
        why: "PHP then answers a fatal error with status 200: failed jobs count as done",
        fix,
      }]
      : [{
        id,
        severity: "warning",
        what,
        why: "a fatal error looks like a success, and its text does not reach the log",
        fix,
      }];
  },
  log_errors: (value) => {
    const id = "php.log_errors";
    if (isOn(value)) return [{ id, severity: "ok", what: "log_errors is on" }];
    return [{
      id,
      severity: "warning",
      what: "log_errors is off",
      why: "dead letters do not say why PHP failed",
      fix: "in the pool: php_admin_flag[log_errors] = on",
    }];
  },
  memory_limit: (value) => {
    const id = "php.memory_limit";
    if (value !== "-1") return [{ id, severity: "ok", what: `memory_limit is ${value}` }];
    return [{
      id,
      severity: "warning",
      what: "memory_limit is -1: none",
      why: "a job can use up all memory, and so end php-fpm and other jobs",
      fix: "in the pool: php_admin_value[memory_limit] = 256M",
    }];
  },
  max_execution_time: (value, { limit, fixed }) => {
    const id = "php.max_execution_time";
    const seconds = Number(value);
    if (seconds === 0) {
      return [{ id, severity: "ok", what: "max_execution_time is 0: the worker's limit applies" }];
    }
    if (seconds * 1_000 >= limit.ms) {
      return [{ id, severity: "ok", what: `max_execution_time is ${seconds} s of CPU` }];
    }
    return [{
      id,
      severity: "warning",
      what: `max_execution_time is ${seconds} s of CPU, ${limit.name} is ${limit.ms}`,
      why: "PHP ends jobs before the worker does, with a fatal error",
      fix: fixed.has("max_execution_time")
        ? "in the pool: php_admin_value[max_execution_time] = 0; the script cannot lift it"
        : "in the script: set_time_limit(0); where the pool has php_admin_value[max_execution_time], remove it there",
    }];
  },
  "opcache.enable": (value) => {
    const id = "php.opcache";
    if (isOn(value)) return [{ id, severity: "ok", what: "opcache is on" }];
    return [{
      id,
      severity: "warning",
      what: value === false ? "opcache is not loaded" : "opcache is off",
      why: "every job compiles all of its code again",
      fix: value === false
        ? "install PHP's opcache (on Debian a package of PHP's version, as php8.4-opcache), and in php.ini: zend_extension=opcache"
        : "in php.ini: opcache.enable=1",
    }];
  },
  "opcache.validate_timestamps": (value, _, settings) => {
    const id = "php.opcache_timestamps";
    if (!isOn(settings["opcache.enable"] ?? false)) return [];
    if (!isOn(value)) {
      return [{ id, severity: "ok", what: "opcache does not check files for changes" }];
    }
    return [{
      id,
      severity: "notice",
      what: "opcache checks files for changes (opcache.validate_timestamps is on)",
      why: "it costs time, and jobs see a mixture of old and new files during a deployment",
      fix:
        "in the pool: php_admin_flag[opcache.validate_timestamps] = off, and reload php-fpm at each deployment",
    }];
  },
};

/** For optional settings. */
const FURTHER_RULES: Readonly<Record<string, Rule>> = {
  // A file takes the place of the answer's STDERR (main.c, php_log_err_with_severity).
  error_log: (value) => {
    const id = "php.error_log";
    if (value === false || value === "") return [];
    return [{
      id,
      severity: "notice",
      what: `error_log is "${value}": PHP's errors go there and not to the worker`,
      why: "dead letters and the worker's log do not say why PHP failed",
      fix: "in the pool: remove error_log; or read that file for the reasons",
    }];
  },
  "fastcgi.logging": (value) => {
    const id = "php.fastcgi_logging";
    // Without the setting it is not php-fpm.
    if (value === false || isOn(value)) return [];
    return [{
      id,
      severity: "warning",
      what: "fastcgi.logging is off: PHP's errors do not reach the worker",
      why: "dead letters and the worker's log do not say why PHP failed",
      fix: "in the pool: remove php_admin_value[fastcgi.logging], or set it to 1",
    }];
  },
};

/** As PHP reads a flag (zend_ini.c, zend_ini_parse_bool), and display_errors, which knows "stderr" and "stdout" too. */
function isOn(value: string | false): boolean {
  if (value === false) return false;
  return /^(?:on|yes|true|stderr|stdout|[1-9]\d*)$/i.test(value.trim());
}
