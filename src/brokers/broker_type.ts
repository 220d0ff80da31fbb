import type { Broker, Capabilities } from "../core/broker.ts";
import type { FervoError } from "../core/errors.ts";
import type { BrokerFindingId, FindingText } from "../core/finding.ts";
import type { Format } from "../core/format.ts";
import type { Observer } from "../core/observer.ts";
import type { Options, OptionValues, Path, Problem, Written } from "../core/option.ts";
import type { Clock } from "../core/time/clock.ts";

/** A person's signal to this process, through a broker that shows its processes. */
export type RemoteSignal = "quiet" | "stop";

/** A worker's data in a broker that shows its processes. It may change. */
export interface ProcessInfo {
  /** Jobs at the same time, of all consumers of this broker. */
  readonly concurrency: number;
  readonly queues: readonly { readonly name: string; readonly weight: number }[];
}

/**
 * Who decides a part of a job's fate: the broker; the message, which has the data itself; the worker; or the application's
 * framework.
 */
export type Owner = "broker" | "message" | "worker" | "application";

/** Who decides the fate of jobs of a format. */
export interface Ownership {
  /** Who counts attempts: a delivery's attempt comes from there, and is unknown for the application. */
  readonly attempts: Owner;
  /** Who decides whether and when a failed job runs again. */
  readonly retry: Owner;
  /** Who keeps jobs that failed for good. */
  readonly dead: Owner;
}

/** What a broker needs when it opens. */
export interface BrokerDeps {
  readonly clock: Clock;
  /** The name of this process for the broker and for people: `host:pid:nonce`. */
  readonly owner: string;
  /** For brokers that show their processes. */
  readonly process?: ProcessInfo;
  /** Gets the events of the broker's own work. */
  readonly observe?: Observer;
  /** A broker that cannot open now opens later: its calls reject until then. */
  readonly isPatient?: boolean;
  /** Called with a person's signal. */
  readonly onSignal?: (signal: RemoteSignal) => void;
}

/** Which script of tables. */
export interface SchemaScriptOptions {
  /** One of the products. */
  readonly product: string;
  /** The version of the tables that exist; 0 without tables. */
  readonly from: number;
}

/** The tables of a broker in a database, for an administrator who creates them. */
export interface SchemaScript<Settings = unknown> {
  /** The servers that the driver can mean, in small letters; at least one. */
  readonly products: readonly string[];
  /** The newest version of the tables. */
  readonly version: number;
  /** The script for the server's own client: SQL with comments. */
  write(settings: Settings, options: SchemaScriptOptions): string;
  /**
   * Asks the server. The version may be newer than this program's.
   *
   * @throws {FervoError} QUEUE_UNAVAILABLE
   */
  ask(clock: Clock, settings: Settings): Promise<SchemaScriptOptions>;
}

/** The place of messages that the workers of a framework take as well, and the settings that must be the same for both. */
export interface FrameworkStore {
  /** The same text for two brokers with the same messages: server, database and table. Without secrets. */
  readonly place: string;
  readonly table: string;
  /** After this time the framework's own workers take a message again. */
  readonly redeliverTimeoutMs: number;
  readonly leaseMs: number;
  /** The name under which a queue's messages are in the table. */
  nameOf(queue: string): string;
}

/**
 * A kind of broker: a driver, and its message formats. A driver can have several types, each with formats of its own: see
 * {@link typeOf}. Everything is known before a broker opens, so that configuration,
 * `check`, documentation and the conformance suite read the same.
 */
export interface BrokerType<All extends Options = Options, Settings = unknown> {
  /** Its name in the configuration. */
  readonly driver: string;
  /** Its page in docs/brokers, without `.md`; types may share one. */
  readonly page: string;
  /** By name; at least one. */
  readonly formats: Readonly<Record<string, Format>>;
  /** One of them. */
  readonly defaultFormat: string;
  /** The least that its server supports. */
  readonly capabilities: Capabilities;
  /** Who decides the fate of jobs of one of its formats. */
  ownership(format: string): Ownership;
  /** The keys of its table in the configuration, without `driver` and `format`. */
  readonly options: All;
  /** Checks that the values of several keys fit together. */
  check?(written: Written, path: Path): Problem[];
  /** The settings of checked values. @param folder Relative paths begin there. */
  settings(values: OptionValues<All>, folder: string): Settings;
  /**
   * Why a queue's name is invalid, as the end of a sentence about the queue; undefined when it is valid.
   *
   * @param broker The checked values of the broker's table.
   */
  whyQueueIsRefused?(queue: string, broker: Written): string | undefined;
  /** Why a payload is invalid, as the end of a sentence about the payload, for brokers with rules. */
  whyPayloadIsRefused?(payload: Uint8Array, format: Format): string | undefined;
  /** @throws {FervoError} QUEUE_UNAVAILABLE, unless it is patient */
  open(deps: BrokerDeps, settings: Settings, format: Format): Broker;
  /** The tables that it needs, where an administrator may have to create them. */
  readonly schema?: SchemaScript<Settings>;
  /** What to change when it cannot be used. @param place The table in the configuration, such as `in [brokers.default]:`. */
  fixOf(error: FervoError, settings: Settings, place: string): string;
  /** The largest number of connections, or other descriptors, of a consumer, without those that never wait. */
  descriptors(consumer: { readonly concurrency: number; readonly queues: number }): number;
  /** The findings about its own settings, by stable ids: see `FINDING_TEXTS`. */
  readonly findings: Readonly<Record<BrokerFindingId, FindingText>>;
  /** Names of its server as a systemd unit; the worker starts after it. */
  readonly units: readonly string[];
  /** Other machines can take its jobs, too. */
  readonly isShared: boolean;
  /** Folders that the worker writes to. */
  folders?(settings: Settings): readonly string[];
  /** For messages of a framework: what `check` compares with the application. */
  frameworkStore?(settings: Settings): FrameworkStore;
  /** Files with a secret, and its description. */
  secretFiles?(settings: Settings): readonly { readonly path: string; readonly what: string }[];
}

/**
 * The type of a broker's table: that of its driver, and of its format where the driver has several types; undefined when there
 * is none. A driver's first type is that of a table without a format.
 */
export function typeOf(
  types: readonly BrokerType[],
  table: { readonly driver: string; readonly format: string },
): BrokerType | undefined {
  const [first, ...others] = types.filter(({ driver }) => driver === table.driver);
  if (first === undefined || others.length === 0) return first;
  return [first, ...others].find(({ formats }) => Object.hasOwn(formats, table.format));
}

/**
 * A type as the configuration names it: `driver = "sqlite"`, with the formats where the driver has other types, too.
 *
 * @param types All types.
 */
export function kindOf(
  { driver, formats }: Pick<BrokerType, "driver" | "formats">,
  types: readonly BrokerType[],
): string {
  const isOnly = types.filter((other) => other.driver === driver).length === 1;
  const names = Object.keys(formats).map((name) => `"${name}"`).join(" or ");
  return `driver = "${driver}"${isOnly ? "" : ` and format = ${names}`}`;
}

/** A broker of the configuration. */
export interface BrokerConfig {
  readonly type: BrokerType;
  readonly format: Format;
  readonly settings: unknown;
}
