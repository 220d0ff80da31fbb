import type { BrokerType } from "../../../brokers/broker_type.ts";
import { dirname, resolve } from "node:path";
import { leastConcurrency, longestRequestMs, mostConcurrency } from "../../../config/options/concurrency.ts";
import type { Config, FpmConfig } from "../../../config/config.ts";
import { newestFpm } from "../../../fpm/find_php.ts";
import { parseConfig } from "../../../config/load.ts";
import { FervoError } from "../../../core/errors.ts";
import { descriptorsNeeded } from "../../../doctor/open_files.ts";
import { END_CHILD_MS } from "../../../fpm/control.ts";
import { formatAddress } from "../../../fastcgi/address.ts";
import { findAccount, whyCannotRead } from "../../../system/account.ts";
import { fpmFile } from "../../../service/fpm.ts";
import type { FpmService, ServiceFile, WorkerService } from "../../../service/service.ts";
import { supervisorFile, supervisorFpmFile } from "../../../service/supervisor.ts";
import { systemdFile, systemdFpmFile } from "../../../service/systemd.ts";
import type { ConfigReader } from "../../context.ts";
import { EXAMPLE_SCRIPT, hostConfig } from "./host_config.ts";
import { CONFIG_PLACES, configPath, descriptorUsers, readConfig } from "../../settings.ts";

/** The options that are not in the configuration. */
export interface ServiceOptions {
  readonly supervisor?: true | undefined;
  readonly systemd?: true | undefined;
  readonly fpm?: true | undefined;
  readonly config?: string | undefined;
  /** Of the worker's program or unit; {@link DEFAULT_NAME} when absent. */
  readonly name?: string | undefined;
  readonly user: string;
  readonly program: string;
  /** php-fpm; the newest installed one, when absent. */
  readonly phpFpm?: string | undefined;
}

/** The folder for configurations of a whole machine. */
export const CONFIG_FOLDER = "/etc/fervo-worker";
export const DEFAULT_NAME = "fervo-worker";
/** Debian's packages create it, and other masters share it. */
const FPM_PACKAGE_FOLDER = "/run/php";
const STATUS_PATH = "/status";
/** Beyond shutdown_timeout_ms, to put back the remaining jobs, seconds. */
export const PUT_BACK_S = 10;
/** How much longer an outer limit is than the inner one, seconds. */
const CONTROL_MARGIN_S = 5;
const TERMINATE_MARGIN_S = 30;

/** Service files, with warnings for a person. */
export interface ServiceFiles {
  readonly files: readonly ServiceFile[];
  /** Obstacles for the service on this machine: a sentence each, without a full stop. */
  readonly warnings: readonly string[];
}

/**
 * The service files for the configuration; without any, for the one that `init` writes. They may be meant for another machine:
 * obstacles on this one are warnings only.
 *
 * @throws {FervoError} CONFIG_INVALID
 */
export async function serviceFiles(context: ConfigReader, options: ServiceOptions): Promise<ServiceFiles> {
  const { config, path } = await configOrExample(context, options.config);
  const phpFpm = options.phpFpm ?? await newestFpm(context.io.env("PATH") ?? "");
  if (phpFpm === undefined && options.fpm && (options.supervisor || options.systemd)) {
    const text = "Cannot find php-fpm on this machine: install it, or name its future path with --php-fpm";
    throw new FervoError("CONFIG_INVALID", text);
  }
  return {
    files: serviceFilesOf({ config, path, brokerTypes: context.brokerTypes }, { ...options, phpFpm }),
    warnings: [
      ...(options.supervisor || options.systemd ? await userWarnings(path, options.user) : []),
      ...(options.fpm ? statusWarnings(config) : []),
    ],
  };
}

async function userWarnings(configFile: string, user: string): Promise<string[]> {
  const account = await findAccount(user);
  if (account === undefined) return [`this machine has no user "${user}": name one with --user`];
  const why = await whyCannotRead(configFile, account);
  return why === undefined ? [] : [`the worker will not start: ${why}, or name another user with --user`];
}

/** If the worker does not know the pool's status page, it cannot tell php-fpm's reload from a crashed job. */
function statusWarnings(config: Config): string[] {
  return [...config.fpm].filter(([, { statusPath }]) => statusPath === undefined).map(([name]) =>
    `the pool has pm.status_path = ${STATUS_PATH}, and the configuration does not name it: in [fpm.${name}] set ` +
    `status_path = "${STATUS_PATH}"`
  );
}

/**
 * The same for an existing configuration.
 *
 * @param path Its path.
 * @param brokerTypes The worker starts after the servers of all of them: its configuration may change.
 * @throws {FervoError} CONFIG_INVALID
 */
export function serviceFilesOf(
  { config, path, brokerTypes }: { config: Config; path: string; brokerTypes: readonly BrokerType[] },
  options: ServiceOptions,
): ServiceFile[] {
  const { phpFpm } = options;
  const brokerUnits = [...new Set(brokerTypes.flatMap(({ units }) => units))];
  const worker = workerService(config, path, { ...options, brokerUnits }, phpFpm);
  const fpm = options.fpm ? fpmService(config, options, phpFpm ?? "") : undefined;
  return [
    ...(options.supervisor ? [supervisorFile(worker)] : []),
    ...(options.systemd ? [systemdFile(worker)] : []),
    ...(fpm === undefined ? [] : [fpmFile(fpm)]),
    ...(fpm !== undefined && options.supervisor ? [supervisorFpmFile(fpm)] : []),
    ...(fpm !== undefined && options.systemd ? [systemdFpmFile(fpm)] : []),
  ];
}

async function configOrExample(
  context: ConfigReader,
  named: string | undefined,
): Promise<{ config: Config; path: string }> {
  const { io, brokerTypes } = context;
  const path = resolve(await configPath(io, named));
  const isNamed = named !== undefined || (io.env("FERVO_CONFIG") ?? "") !== "";
  if (isNamed || await Deno.stat(path).then(() => true, () => false)) {
    return { config: await readConfig(context, named), path };
  }
  const place = CONFIG_PLACES[1]!;
  const text = hostConfig(DEFAULT_NAME, EXAMPLE_SCRIPT);
  return { config: await parseConfig(text, place, { env: io.env, brokerTypes }), path: place };
}

function workerService(
  config: Config,
  configFile: string,
  { brokerUnits, ...options }: ServiceOptions & { readonly brokerUnits: readonly string[] },
  fpmProgram: string | undefined,
): WorkerService {
  const sockets = [...config.fpm.values()].flatMap(({ address, statusAddress }) => [address, statusAddress])
    .flatMap((address) => address?.transport === "unix" ? [dirname(address.path)] : []);
  const killAfterMs = Math.max(
    0,
    ...[...config.processes.values()].map((process) => process.killAfterMs),
    ...[...config.fpm.values()].map((fpm) => fpm.killOnTimeout ? END_CHILD_MS : 0),
  );
  return {
    name: options.name ?? DEFAULT_NAME,
    program: options.program,
    configFile,
    user: options.user,
    folders: unique(
      [...config.brokers.values()].flatMap(({ type, settings }) => type.folders?.(settings) ?? []),
    ),
    brokerUnits,
    controlFolder: config.controlSocket && dirname(config.controlSocket),
    socketFolders: unique(sockets),
    stopS: Math.ceil((config.shutdownTimeoutMs + killAfterMs) / 1_000) + PUT_BACK_S,
    openFiles: descriptorsNeeded(descriptorUsers(config)),
    runsProcesses: config.consumers.some(({ executor }) => executor.kind === "process"),
    hasOwnFpm: options.fpm === true,
    runFolders: unique([
      ...(config.controlSocket === undefined ? [] : [dirname(config.controlSocket)]),
      ...(options.fpm ? sockets : []),
    ]).filter((folder) => folder.startsWith("/run/") && folder !== FPM_PACKAGE_FOLDER),
    fpmProgram,
  };
}

function fpmService(
  config: Config,
  { name = DEFAULT_NAME, user }: ServiceOptions,
  program: string,
): FpmService {
  const timeouts = [...config.fpm.keys()].map((name) => longestTimeoutS(config, name));
  return {
    name,
    program,
    // Not the name of this php-fpm's program or unit: in one folder each file needs its own name.
    configFile: `${CONFIG_FOLDER}/${name}-php-fpm.conf`,
    user,
    controlS: Math.max(0, ...timeouts) + CONTROL_MARGIN_S,
    pools: [...config.fpm].map(([name, fpm]) => poolOf(config, name, fpm)),
  };
}

/** Children for consumers with concurrency = "auto" without a configured number: a person should choose. */
const AUTO_CHILDREN = 8;

function poolOf(config: Config, name: string, { address, statusPath, statusAddress, pingPath }: FpmConfig) {
  return {
    name,
    listen: formatAddress(address),
    isSocket: address.transport === "unix",
    // For a pool without consumers: php-fpm does not accept 0.
    children: Math.max(mostConcurrency(config, name) ?? AUTO_CHILDREN, leastConcurrency(config, name), 1),
    statusPath: statusPath ?? STATUS_PATH,
    statusListen: statusAddress && formatAddress(statusAddress),
    pingPath,
    terminateS: longestTimeoutS(config, name) + TERMINATE_MARGIN_S,
  };
}

function longestTimeoutS(config: Config, fpm: string): number {
  return Math.ceil(longestRequestMs(config, fpm) / 1_000);
}

function unique(values: readonly string[]): string[] {
  return [...new Set(values)];
}
