import type { Finding } from "../core/finding.ts";

/**
 * PHP's settings as the front controller tells them, by `ini_get`; false where PHP does not know the setting, as when
 * its extension is not loaded.
 */
export type PhpSettings = Readonly<Record<string, string | false>>;

/** What of the configuration decides how much a setting of PHP's matters. */
export interface PhpExpectations {
  readonly ackOn: "outcome" | "status";
  /** The longest `timeout_ms` of the consumers. */
  readonly timeoutMs: number;
}

/** The header with which a front controller answers FERVO_CHECK; see docs/protocol.md. */
export const CHECK_HEADER = "x-fervo-check";

/** Reads the header's value: a JSON object. Undefined when it is none. */
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

/** Said where nobody has told PHP's settings. */
export function unknownSettings(how: string): Finding {
  return {
    id: "php.settings",
    severity: "notice",
    what:
      "PHP's settings (display_errors, log_errors, memory_limit, max_execution_time, opcache) are not known",
    fix: how,
  };
}

/** Judges PHP's settings. One that is not told is said to be unknown. */
export function phpFindings(settings: PhpSettings, expected: PhpExpectations): Finding[] {
  const missing = Object.keys(RULES).filter((name) => settings[name] === undefined);
  const findings = Object.entries(RULES).flatMap(([name, judge]) => {
    const value = settings[name];
    return value === undefined ? [] : judge(value, expected, settings);
  });
  if (missing.length === 0) return findings;
  const unknown: Finding = {
    id: "php.settings",
    severity: "notice",
    what: `the script does not tell ${missing.join(", ")}`,
    fix: "in the script: the answer to FERVO_CHECK of docs/protocol.md",
  };
  return [...findings, unknown];
}

type Rule = (value: string | false, expected: PhpExpectations, all: PhpSettings) => Finding[];

const RULES: Readonly<Record<string, Rule>> = {
  display_errors: (value, { ackOn }) => {
    const id = "php.display_errors";
    // "stderr" counts as on in php-fpm: only the command line knows the difference (main.c).
    if (!isOn(value)) return [{ id, severity: "ok", what: "display_errors is off" }];
    const fix = "in the pool: php_admin_flag[display_errors] = off";
    const what = "display_errors is on";
    return ackOn === "status"
      ? [{
        id,
        severity: "error",
        code: "FPM_MISCONFIGURED",
        what: `${what}, with ack_on = "status"`,
        why: "a fatal error is answered with the status 200 then: jobs that failed count as done",
        fix,
      }]
      : [{
        id,
        severity: "warning",
        what,
        why: "a fatal error looks like a fine answer, and what it prints goes nowhere instead of to the log",
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
      why: "dead letters do not tell why PHP failed",
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
      why: "a job that takes all memory can take php-fpm and other jobs with it",
      fix: "in the pool: php_admin_value[memory_limit] = 256M",
    }];
  },
  max_execution_time: (value, { timeoutMs }) => {
    const id = "php.max_execution_time";
    const seconds = Number(value);
    if (seconds === 0) {
      return [{ id, severity: "ok", what: "max_execution_time is 0: the worker's limit counts" }];
    }
    if (seconds * 1_000 >= timeoutMs) {
      return [{ id, severity: "ok", what: `max_execution_time is ${seconds} s of CPU` }];
    }
    return [{
      id,
      severity: "warning",
      what: `max_execution_time is ${seconds} s of CPU, timeout_ms is ${timeoutMs}`,
      why: "PHP ends jobs before the worker does, with a fatal error",
      fix: "in the script: set_time_limit(0);",
    }];
  },
  "opcache.enable": (value) => {
    const id = "php.opcache";
    if (isOn(value)) return [{ id, severity: "ok", what: "opcache is on" }];
    return [{
      id,
      severity: "warning",
      what: value === false ? "opcache is not loaded" : "opcache is off",
      why: "every job compiles all of its code anew",
      fix: value === false
        ? "install PHP's opcache (php8.2-opcache), and in php.ini: zend_extension=opcache"
        : "in php.ini: opcache.enable=1",
    }];
  },
  "opcache.validate_timestamps": (value, _, settings) => {
    const id = "php.opcache_timestamps";
    if (!isOn(settings["opcache.enable"] ?? false)) return [];
    if (!isOn(value)) {
      return [{ id, severity: "ok", what: "opcache does not look whether files have changed" }];
    }
    return [{
      id,
      severity: "notice",
      what: "opcache looks whether files have changed (opcache.validate_timestamps is on)",
      why: "it costs time, and jobs see a mixture of old and new files during a deployment",
      fix:
        "in the pool: php_admin_flag[opcache.validate_timestamps] = off, and reload php-fpm at each deployment",
    }];
  },
};

/** As PHP reads a flag (zend_ini.c, zend_ini_parse_bool), and display_errors, which knows "stderr" and "stdout" too. */
function isOn(value: string | false): boolean {
  if (value === false) return false;
  return /^(?:on|yes|true|stderr|stdout|[1-9]\d*)$/i.test(value.trim());
}
