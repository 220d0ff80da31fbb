import { Command } from "@commander-js/extra-typings";
import { openBroker } from "../app.ts";
import { isOn, leastConcurrency } from "../config/concurrency.ts";
import type { Config, FpmConfig } from "../config/config.ts";
import { systemClock } from "../core/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import { findPhp } from "../bench/find_php.ts";
import { fpmLimitFindings, UNKNOWN_LIMITS } from "../doctor/fpm_limits.ts";
import { type FpmSettings, readFpmSettings } from "../doctor/fpm_settings.ts";
import { checkOpenFiles, descriptorsNeeded } from "../doctor/open_files.ts";
import type { PoolToCheck } from "../doctor/expected_pool.ts";
import { checkPool } from "../doctor/pool.ts";
import { checkProgram } from "../doctor/program.ts";
import { callScript, findScript } from "../doctor/script.ts";
import { checkSocket } from "../doctor/socket.ts";
import { formatAddress } from "../fastcgi/address.ts";
import type { Context } from "./context.ts";
import { ExitCode, exitCodeOf } from "./exit_code.ts";
import { configOption, jsonOption } from "./options.ts";
import { counted } from "./plural.ts";
import { descriptorUsers, readConfig } from "./settings.ts";

/** A finding, and which part of the configuration it is about, e.g. `fpm.default`. */
export interface PlacedFinding extends Finding {
  readonly subject: string;
}

interface CheckOptions {
  readonly callScript?: true | undefined;
  readonly fpmConfig?: string | undefined;
  readonly phpFpm?: string | undefined;
}

export function checkCommand({ io, setExitCode }: Context) {
  return new Command("check")
    .summary("examine the configuration, the brokers and php-fpm")
    .description(
      "Examines all that jobs depend on: opens each broker, reaches each php-fpm pool, looks for scripts and programs, " +
        "and says what endangers jobs, why, and which line to change. No PHP and no other program is run, but for the " +
        "options below. What cannot be found out is said to be unknown.",
    )
    .addOption(configOption())
    .option(
      "--call-script",
      "have php-fpm run the script with FERVO_CHECK=1 and no job, and judge the PHP settings that it tells",
    )
    .option("--fpm-config <file>", "judge this php-fpm.conf, as `php-fpm -tt` reads it")
    .option("--php-fpm <path>", "the php-fpm for that (default: the newest one that is installed)")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker check
  $ fervo-worker check --call-script --fpm-config /etc/php/8.2/fpm/php-fpm.conf
  $ fervo-worker check --json | jq '.[] | select(.severity == "warning")'

Exit codes:
  0  nothing that endangers jobs; notices at most
  1  warnings
  3  jobs cannot run: a configuration is wrong, the worker's or php-fpm's
  4  jobs cannot run: a broker or php-fpm cannot be reached or used`,
    )
    .action(async (options) => {
      const config = await readConfig(io, options.config);
      const findings = await examine(config, options);
      io.out(options.json ? `${JSON.stringify(findings.map(toJson))}\n` : findings.map(toText).join(""));
      setExitCode(exitCodeOfFindings(findings));
    });
}

/** Every finding, in the order of the configuration's parts. */
async function examine(config: Config, options: CheckOptions): Promise<PlacedFinding[]> {
  const findings: PlacedFinding[] = [];
  const add = (subject: string, found: readonly Finding[]) =>
    findings.push(...found.map((finding) => ({ ...finding, subject })));

  add("configuration", [
    { id: "config.valid", severity: "ok", what: counted(config.consumers.length, "consumer") },
  ]);
  for (const name of config.brokers.keys()) add(`brokers.${name}`, await checkBroker(config, name));
  const settings = await fpmSettings(options);
  for (const [name, fpm] of config.fpm) {
    add(`fpm.${name}`, await checkFpm(config, name, fpm, settings, options));
  }
  for (const [name, process] of config.processes) add(`processes.${name}`, await checkProgram(process));
  add("worker", [await checkOpenFiles(descriptorsNeeded(descriptorUsers(config)))]);
  return findings;
}

async function checkBroker(config: Config, name: string): Promise<Finding[]> {
  const id = "broker.reachable";
  try {
    await using broker = openBroker(config, name, systemClock);
    const queues = await broker.driver.queues();
    const findings = await broker.driver.findings?.() ?? [];
    return [
      { id, severity: "ok", what: `reached; ${counted(queues.length, "queue")} with jobs` },
      ...findings,
    ];
  } catch (error) {
    return [failure(id, error)];
  }
}

async function checkFpm(
  config: Config,
  name: string,
  fpm: FpmConfig,
  settings: FpmSettings | Finding,
  options: CheckOptions,
): Promise<Finding[]> {
  const consumers = config.consumers.filter(({ executor }) => isOn(executor, name));
  const timeoutMs = Math.max(0, ...consumers.map((consumer) => consumer.timeoutMs));
  // A script that cannot send the header is as good as its consumers take it for.
  const ackOn = consumers.map(({ executor }) => executor).find((executor) => isOn(executor, name))?.ackOn ??
    "outcome";
  const where = formatAddress(fpm.address);
  const pool: PoolToCheck = {
    ...fpm,
    jobs: leastConcurrency(config, name),
    timeoutMs,
    scripts: [...config.fpm.values()].filter(({ address }) => formatAddress(address) === where)
      .map(({ script }) => script),
  };
  const seen = [
    ...await checkPool(systemClock, pool),
    await checkSocket(fpm.address, "listen"),
    ...(fpm.statusAddress === undefined ? [] : [await checkSocket(fpm.statusAddress, "pm.status_listen")]),
    ...await (options.callScript ? callScript(systemClock, { ...fpm, ackOn, timeoutMs }) : findScript(fpm)),
  ];
  const read = "pools" in settings ? await fpmLimitFindings(settings, pool) : [settings];
  // What php-fpm says itself is surer than what its status page lets one conclude.
  const known = new Set(read.map(({ id }) => id));
  return [...seen.filter(({ id, severity }) => severity === "error" || !known.has(id)), ...read];
}

/** php-fpm's own settings where they were asked for; else what is to be said of them. */
async function fpmSettings({ fpmConfig, phpFpm }: CheckOptions): Promise<FpmSettings | Finding> {
  if (fpmConfig === undefined && phpFpm === undefined) return UNKNOWN_LIMITS;
  try {
    return await readFpmSettings({ program: phpFpm ?? await installedPhpFpm(), file: fpmConfig });
  } catch (error) {
    return failure("fpm.settings", error);
  }
}

/** @throws {FervoError} FPM_MISCONFIGURED */
async function installedPhpFpm(): Promise<string> {
  const found = await findPhp(Deno.env.get("PATH") ?? "").catch(() => undefined);
  if (found !== undefined) return found.fpm;
  throw new FervoError("FPM_MISCONFIGURED", "Cannot find php-fpm on this machine: name it with --php-fpm");
}

function failure(id: Finding["id"], error: unknown): Finding {
  const code = error instanceof FervoError ? error.code : "QUEUE_UNAVAILABLE";
  return { id, severity: "error", code, what: reasonOf(error) };
}

/** The first error's, which tells whether the configuration is wrong or somebody is away. */
function exitCodeOfFindings(findings: readonly Finding[]): ExitCode {
  const error = findings.find(({ severity }) => severity === "error");
  if (error !== undefined) {
    const code = exitCodeOf(error.code ?? "CONFIG_INVALID");
    return code === ExitCode.failed ? ExitCode.unavailable : code;
  }
  return findings.some(({ severity }) => severity === "warning") ? ExitCode.failed : ExitCode.ok;
}

/** The finding as `--json` prints it; documented in docs/operations.md. */
function toJson({ id, subject, severity, what, why, fix }: PlacedFinding) {
  return { id, subject, severity, what, why: why ?? null, fix: fix ?? null };
}

const MARKS = { ok: "ok     ", notice: "notice ", warning: "warning", error: "ERROR  " } as const;
const INDENT = " ".repeat(9);

function toText({ id, subject, severity, what, why, fix }: PlacedFinding): string {
  if (severity === "ok") return `${MARKS.ok}  ${subject}: ${what}\n`;
  return [
    `${MARKS[severity]}  ${subject}: ${what} [${id}]`,
    ...(why === undefined ? [] : [`${INDENT}Why: ${why}`]),
    ...(fix === undefined ? [] : [`${INDENT}Fix: ${fix}`]),
    "",
  ].join("\n");
}
