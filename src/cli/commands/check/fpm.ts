import { findPhp } from "../../../fpm/find_php.ts";
import { isOn, leastConcurrency, longestRequestMs } from "../../../config/options/concurrency.ts";
import type { Config, FpmConfig } from "../../../config/config.ts";
import { systemClock } from "../../../core/time/clock.ts";
import { FervoError } from "../../../core/errors.ts";
import type { Finding } from "../../../core/finding.ts";
import type { PoolToCheck } from "../../../doctor/expected_pool.ts";
import { fpmLimitFindings, UNKNOWN_LIMITS, unknownPool } from "../../../doctor/fpm_limits.ts";
import {
  type FpmSettings,
  isSameAddress,
  type PoolSettings,
  poolSettings,
  readFpmSettings,
} from "../../../fpm/settings.ts";
import { poolPhpSettings } from "../../../doctor/php.ts";
import { checkPool } from "../../../doctor/pool.ts";
import { answerFindings, findScript } from "../../../doctor/script.ts";
import { checkSocket } from "../../../doctor/socket.ts";
import { type CheckOptions, failure } from "./context.ts";
import type { ScriptAnswers } from "./script_answers.ts";
import { sharedStores } from "../../shared_stores.ts";

/** Checks one php-fpm pool after the other, with php-fpm's own configuration. */
export async function fpmPoolCheck(
  config: Config,
  options: CheckOptions,
  answers: ScriptAnswers,
): Promise<(name: string) => Promise<Finding[]>> {
  const settings = await fpmSettings(options);
  return (name) => checkFpm(config, name, settings, { options, answers });
}

async function checkFpm(
  config: Config,
  name: string,
  settings: FpmSettings | Finding,
  { options, answers }: { readonly options: CheckOptions; readonly answers: ScriptAnswers },
): Promise<Finding[]> {
  const fpm = config.fpm.get(name)!;
  const { address, statusAddress } = fpm;
  const pool = await poolToCheck(config, name, fpm);
  const known = "pools" in settings
    ? await poolSettings(settings, address) ?? unknownPool(settings)
    : settings;
  const told: PoolSettings | undefined = "own" in known ? known : undefined;
  const own = told?.own;
  const consumers = config.consumers.flatMap(({ name: consumer, executor }) =>
    isOn(executor, name) ? [{ consumer, ackOn: executor.ackOn }] : []
  );
  const brokers = new Set(
    config.consumers.filter(({ executor }) => isOn(executor, name)).map(({ broker }) => broker),
  );
  const script = {
    ...fpm,
    ackOn: new Set(consumers.length > 0 ? consumers.map(({ ackOn }) => ackOn) : ["outcome" as const]),
    ackOnStatus: consumers.filter(({ ackOn }) => ackOn === "status").map(({ consumer }) => consumer),
    stores: sharedStores(config).filter(({ name }) => brokers.has(name)),
    limit: pool.limit,
    fixed: own === undefined ? new Set<string>() : poolPhpSettings(own).fixed,
  };
  const seen = [
    ...await checkPool(systemClock, pool),
    await checkSocket(address, "listen", own),
    ...(statusAddress === undefined ? [] : [await checkSocket(statusAddress, "pm.status_listen", own)]),
    ...await (options.callScript ? answerFindings(answers.of(name), script) : findScript(script, own)),
  ];
  const read = told === undefined ? [known as Finding] : await fpmLimitFindings(told, pool);
  // php-fpm's own configuration is more certain than its status page.
  const ids = new Set(read.map(({ id }) => id));
  return [...seen.filter(({ id, severity }) => severity === "error" || !ids.has(id)), ...read];
}

/** All expectations of the configuration about the pool at an address, under whichever names. */
async function poolToCheck(config: Config, name: string, fpm: FpmConfig): Promise<PoolToCheck> {
  const names: string[] = [];
  for (const [other, { address }] of config.fpm) {
    if (await isSameAddress(address, fpm.address)) names.push(other);
  }
  const requestMs = longestRequestMs(config, name);
  const hasBatches = config.consumers.some(({ executor, batchSize }) =>
    isOn(executor, name) && batchSize > 1
  );
  return {
    ...fpm,
    jobs: names.reduce((sum, one) => sum + leastConcurrency(config, one), 0),
    limit: { ms: requestMs, name: hasBatches ? "timeout_ms × batch_size" : "timeout_ms" },
    uid: Deno.uid(),
    scripts: names.map((one) => config.fpm.get(one)!.script),
  };
}

/** php-fpm's own settings if requested; else the finding about them. */
async function fpmSettings({ fpmConfig, phpFpm }: CheckOptions): Promise<FpmSettings | Finding> {
  if (fpmConfig === undefined && phpFpm === undefined) return UNKNOWN_LIMITS;
  try {
    return await readFpmSettings({ program: phpFpm ?? await installedPhpFpm(), file: fpmConfig });
  } catch (error) {
    return failure(
      "fpm.settings",
      error,
      "give --fpm-config a file that this user can read and `php-fpm -tt` accepts, and --php-fpm the php-fpm for it",
    );
  }
}

/** @throws {FervoError} FPM_MISCONFIGURED */
async function installedPhpFpm(): Promise<string> {
  const found = await findPhp(Deno.env.get("PATH") ?? "").catch(() => undefined);
  if (found !== undefined) return found.fpm;
  throw new FervoError("FPM_MISCONFIGURED", "Cannot find php-fpm on this machine: name it with --php-fpm");
}
