import { resolve } from "node:path";
import type { Target } from "../../../bench/modes.ts";
import type { ModeName } from "../../../bench/result.ts";
import { findCli, findPhp, type Php } from "../../../fpm/find_php.ts";
import { OwnFpm } from "../../../fpm/temporary_pool.ts";
import { ChildUsage, FpmUsage, type PhpUsage } from "../../../bench/usage.ts";
import type { Config, FpmConfig, ProcessConfig } from "../../../config/config.ts";
import type { Clock } from "../../../core/time/clock.ts";
import { fileReason } from "../../../core/text/file_error.ts";
import { FervoError } from "../../../core/errors.ts";
import { DEFAULT_STDERR_OPTIONS } from "../../../executors/fastcgi/acked_stderr.ts";
import {
  DEFAULT_FASTCGI_EXECUTOR_OPTIONS,
  type FastCgiExecutorOptions,
} from "../../../executors/fastcgi/executor.ts";
import { FpmControl } from "../../../fpm/control.ts";
import {
  DEFAULT_PROCESS_EXECUTOR_OPTIONS,
  type ProcessExecutorOptions,
} from "../../../executors/process/executor.ts";
import { DEFAULT_POOL_OPTIONS } from "../../../fastcgi/pool.ts";
import type { FpmStatus } from "../../../fpm/status.ts";

/** The subject of a benchmark, ready for measurement. */
export interface BenchTarget extends AsyncDisposable {
  readonly kind: "own" | "configured";
  readonly target: Target;
  /** As in `[fpm.NAME]`; undefined for bench's own. */
  readonly name: string | undefined;
  readonly pm: string | null;
  /** The most jobs that the pool runs at once; undefined if unknown. */
  readonly children: number | undefined;
  /** The concurrency of its consumer; undefined for bench's own. */
  readonly concurrency: number | undefined;
  /** The default queue name for PHP. */
  readonly queue: string;
  readonly phpVersion: string | null;
  readonly fpmVersion: string | null;
  /** Why there is no mode `process`; undefined with it. */
  readonly whyNoProcess: string | undefined;
  readonly usageOf: (mode: ModeName) => PhpUsage | undefined;
  readonly notes: readonly string[];
}

/**
 * Starts a php-fpm for the benchmark.
 *
 * @throws {FervoError} FASTCGI_CONNECT_FAILED when there is none, or it does not start; FPM_MISCONFIGURED when the
 * script is not there
 */
export async function ownTarget(
  deps: { clock: Clock; env: (name: string) => string | undefined },
  options: { children: number; script: string | undefined },
): Promise<BenchTarget> {
  const ownScript = options.script === undefined ? undefined : await existing(resolve(options.script));
  const php = await findPhp(deps.env("PATH") ?? "");
  const fpm = await OwnFpm.start(deps, php.fpm, options.children);
  try {
    const script = ownScript ?? fpm.script;
    const pool = {
      ...DEFAULT_POOL_OPTIONS,
      address: fpm.address,
      statusAddress: undefined,
      statusPath: fpm.statusPath,
      pingPath: undefined,
    };
    const usage = await findUsage(await new FpmControl(deps, pool).status(), [fpm.pid]);
    return {
      kind: "own",
      name: undefined,
      target: {
        pool,
        request: { ...DEFAULT_FASTCGI_EXECUTOR_OPTIONS, script },
        process: php.cli === undefined ? undefined : phpProcess(php.cli, script, {}),
      },
      pm: "static",
      children: fpm.children,
      concurrency: undefined,
      queue: "bench",
      phpVersion: php.cliVersion ?? null,
      fpmVersion: php.fpmVersion,
      whyNoProcess: php.cli === undefined ? missingCli(php) : undefined,
      ...usage,
      [Symbol.asyncDispose]: () => fpm[Symbol.asyncDispose](),
    };
  } catch (error) {
    await fpm[Symbol.asyncDispose]();
    throw error;
  }
}

async function existing(script: string): Promise<string> {
  try {
    if ((await Deno.stat(script)).isFile) return script;
  } catch (error) {
    throw new FervoError("FPM_MISCONFIGURED", `Cannot use the script "${script}": ${fileReason(error)}`);
  }
  throw new FervoError("FPM_MISCONFIGURED", `Cannot use the script "${script}": it is not a file`);
}

function missingCli({ fpmVersion }: Php): string {
  const series = fpmVersion.split(".", 2).join(".");
  return `there is no command line PHP ${series} beside php-fpm ${fpmVersion}; install it, e.g. ` +
    `"apt-get install php${series}-cli" on Debian and Ubuntu, "dnf install php-cli" on Fedora`;
}

/** The chosen parts of a configuration. */
export interface Choice {
  readonly consumer: string | undefined;
  readonly fpm: string | undefined;
  readonly process: string | undefined;
}

/**
 * Finds a php-fpm pool of the configuration. Sends it no job, only a request for its status page.
 *
 * @throws {FervoError} CONFIG_INVALID when the choice is unclear; FASTCGI_* when it does not answer
 */
export async function configuredTarget(
  deps: { clock: Clock; env: (name: string) => string | undefined },
  config: Config,
  choice: Choice,
): Promise<BenchTarget> {
  const { name, fpm, request, concurrency, queue } = choosePool(config, choice);
  const status = await new FpmControl(deps, fpm).status();
  const process = await chooseProcess(config, choice.process, fpm, deps.env("PATH") ?? "");
  const isStatic = status?.processManager === "static";
  const children = fpm.children ?? (isStatic ? status.totalProcesses : undefined);
  return {
    kind: "configured",
    name,
    target: { pool: fpm, request, process: process.options },
    pm: status?.processManager ?? null,
    children,
    concurrency,
    queue: queue ?? "bench",
    phpVersion: process.version ?? null,
    fpmVersion: null,
    whyNoProcess: process.why,
    ...await findUsage(status, []),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function choosePool(
  config: Config,
  choice: Choice,
): {
  name: string;
  fpm: FpmConfig;
  request: FastCgiExecutorOptions;
  concurrency: number | undefined;
  queue: string | undefined;
} {
  const candidates = config.consumers.filter(({ name, executor }) =>
    executor.kind === "fastcgi" && (choice.consumer === undefined || name === choice.consumer) &&
    (choice.fpm === undefined || executor.fpm === choice.fpm)
  );
  const consumer = candidates[0];
  if (candidates.length > 1 && choice.fpm === undefined) {
    throw new FervoError(
      "CONFIG_INVALID",
      `The configuration has several consumers on php-fpm (${
        quoted(candidates.map(({ name }) => name))
      }): name one with --consumer`,
    );
  }
  const name = consumer?.executor.kind === "fastcgi" ? consumer.executor.fpm : choice.fpm;
  const fpm = name === undefined ? undefined : config.fpm.get(name);
  if (name === undefined || fpm === undefined || (choice.consumer !== undefined && consumer === undefined)) {
    if (config.fpm.size === 0) {
      throw new FervoError(
        "CONFIG_INVALID",
        "The configuration has no php-fpm pool: add [fpm.NAME] to it, or leave out --config to measure a php-fpm of bench's own",
      );
    }
    const what = choice.consumer === undefined
      ? `php-fpm pool${choice.fpm === undefined ? "" : ` "${choice.fpm}"`}; it has ${
        quoted(config.fpm.keys())
      }`
      : `consumer "${choice.consumer}" on php-fpm; it has ${
        quoted(
          config.consumers.filter(({ executor }) => executor.kind === "fastcgi").map(({ name }) => name),
        ) || "none"
      }`;
    throw new FervoError("CONFIG_INVALID", `The configuration has no ${what}`);
  }
  const { script, params, killOnTimeout, firstByteTimeoutMs } = fpm;
  const own = consumer?.executor.kind === "fastcgi" ? consumer.executor : DEFAULT_FASTCGI_EXECUTOR_OPTIONS;
  const { ackOn, payloadParam } = own;
  const request = {
    ...DEFAULT_STDERR_OPTIONS,
    script,
    params,
    killOnTimeout,
    firstByteTimeoutMs,
    ackOn,
    payloadParam,
  };
  return {
    name,
    fpm,
    request,
    concurrency: consumer?.concurrency === "auto" ? undefined : consumer?.concurrency,
    queue: consumer?.queues[0]?.name,
  };
}

/** The process to compare with the pool: a configured one, or the command line PHP with the pool's script. */
async function chooseProcess(
  config: Config,
  named: string | undefined,
  fpm: FpmConfig,
  path: string,
): Promise<{ options: ProcessExecutorOptions | undefined; version?: string; why: string | undefined }> {
  const names = [...config.processes.keys()];
  const name = named ?? (names.length === 1 ? names[0] : undefined);
  if (name !== undefined) {
    const options: ProcessConfig | undefined = config.processes.get(name);
    if (options !== undefined) return { options: { ...DEFAULT_STDERR_OPTIONS, ...options }, why: undefined };
    const known = names.length === 0 ? "none" : quoted(names);
    throw new FervoError("CONFIG_INVALID", `The configuration has no process "${name}"; it has ${known}`);
  }
  if (names.length > 1) {
    return {
      options: undefined,
      why: `the configuration has several (${quoted(names)}); name one with --process`,
    };
  }
  const cli = await findCli(path);
  if (cli === undefined) return { options: undefined, why: "there is no command line PHP in PATH" };
  const { isFile } = await Deno.stat(fpm.script).catch(() => ({ isFile: false }));
  if (!isFile) return { options: undefined, why: `"${fpm.script}" is not on this machine` };
  return { options: phpProcess(cli.path, fpm.script, fpm.params), version: cli.version, why: undefined };
}

function phpProcess(
  program: string,
  script: string,
  env: Readonly<Record<string, string>>,
): ProcessExecutorOptions {
  return { ...DEFAULT_PROCESS_EXECUTOR_OPTIONS, command: [program, script], env };
}

async function findUsage(
  status: FpmStatus | undefined,
  ownPids: readonly number[],
): Promise<Pick<BenchTarget, "usageOf" | "notes">> {
  const noProc = (error: unknown) =>
    `/proc cannot be read: ${error instanceof Error ? error.message : error}`;
  const fpm = status === undefined
    ? 'it has no status page; set pm.status_path in the pool, and "status_path" in the configuration'
    : await FpmUsage.find(status).catch(noProc);
  const process = await ChildUsage.find(ownPids).catch(noProc);
  const notes: string[] = [];
  if (typeof fpm === "string") notes.push(`CPU and memory of php-fpm could not be measured: ${fpm}`);
  if (typeof process === "string") {
    notes.push(`CPU and memory of processes could not be measured: ${process}`);
  }
  return {
    usageOf: (mode) => {
      const usage = mode === "process" ? process : fpm;
      return typeof usage === "string" ? undefined : usage;
    },
    notes,
  };
}

function quoted(names: Iterable<string>): string {
  return [...names].map((name) => `"${name}"`).join(", ");
}
