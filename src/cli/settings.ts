import { mostConcurrency } from "../config/options/concurrency.ts";
import { type Config } from "../config/config.ts";
import { loadConfig } from "../config/load.ts";
import { FervoError } from "../core/errors.ts";
import type { DescriptorUser } from "../doctor/open_files.ts";
import { whyRefused } from "../system/account.ts";
import { configPlace } from "./config_place.ts";
import type { ConfigReader } from "./context.ts";
import type { Io } from "./io.ts";

/** The places of the configuration without `--config` and FERVO_CONFIG. */
export const CONFIG_PLACES = ["fervo-worker.toml", "/etc/fervo-worker/fervo-worker.toml"];

/**
 * Reads the configuration.
 *
 * @throws {FervoError} CONFIG_INVALID, with every problem
 */
export async function readConfig(
  { io, brokerTypes }: ConfigReader,
  file: string | undefined,
): Promise<Config> {
  return await loadConfig(await configPath(io, file), {
    env: io.env,
    readFile: Deno.readFileSync,
    placeOf,
    brokerTypes,
    whyRefused,
  });
}

/** The place of the configuration at a path: see {@link configPlace}. From a pipe it counts as one in the current folder. */
export function placeOf(path: string): string {
  return configPlace(path, CONFIG_PLACES[0]!);
}

/** The path of the configuration: as given, by FERVO_CONFIG, or in the usual places. */
export async function configPath(io: Io, file: string | undefined): Promise<string> {
  // Some supervisors set an empty variable instead of none.
  const named = file ?? (io.env("FERVO_CONFIG") || undefined);
  return named ?? await firstExisting(CONFIG_PLACES);
}

/** More children than usual, if their number is unknown. */
const MANY_CHILDREN = 128;

/** The descriptors of the consumers. */
export function descriptorUsers(config: Config): DescriptorUser[] {
  const { brokers, consumers } = config;
  return consumers.map(({ broker, executor, concurrency, queues }) => ({
    broker: brokers.get(broker)!.type,
    executor: executor.kind,
    concurrency: concurrency !== "auto" || executor.kind !== "fastcgi"
      ? Number(concurrency)
      : mostConcurrency(config, executor.fpm) ?? MANY_CHILDREN,
    queues: queues.length,
  }));
}

/** The broker to use: as given, or the one of the queue's consumer, or the only one. */
export function chooseBroker(config: Config, named: string | undefined, queue?: string): string {
  if (named !== undefined) return named;
  const consumer = config.consumers.find(({ queues }) => queues.some(({ name }) => name === queue));
  if (consumer !== undefined) return consumer.broker;
  const names = [...config.brokers.keys()];
  if (names.length === 1) return names[0]!;
  throw new FervoError(
    "CONFIG_INVALID",
    `The configuration has several brokers (${
      names.map((name) => `"${name}"`).join(", ")
    }): name one with --broker`,
  );
}

async function firstExisting(paths: readonly string[]): Promise<string> {
  for (const path of paths) {
    if (await Deno.stat(path).then(() => true, () => false)) return path;
  }
  return paths[0]!;
}
