import type { Broker, Capabilities } from "../core/broker.ts";
import type { FervoError } from "../core/errors.ts";
import type { BrokerFindingId, FindingText } from "../core/finding.ts";
import type { Format } from "../core/format.ts";
import type { Observer } from "../core/observer.ts";
import type { Options, OptionValues, Path, Problem, Written } from "../core/option.ts";
import type { Clock } from "../core/time/clock.ts";

/** A signal that a person gives this process by way of a broker that shows its processes. */
export type RemoteSignal = "quiet" | "stop";

/** What of a worker people see in a broker that shows its processes. It may be another one later. */
export interface ProcessInfo {
  /** Jobs at the same time, of all consumers of this broker. */
  readonly concurrency: number;
  readonly queues: readonly { readonly name: string; readonly weight: number }[];
}

/**
 * Who sees to a part of what becomes of a job: the broker; the message, which says it itself; the worker; or the application, whose
 * framework does.
 */
export type Owner = "broker" | "message" | "worker" | "application";

/** Who sees to what becomes of jobs of a format. */
export interface Ownership {
  /** Who knows how many attempts there were: a delivery's attempt is from there, and is unknown where it is the application. */
  readonly attempts: Owner;
  /** Who says whether a failed job runs again, and when. */
  readonly retry: Owner;
  /** Who keeps the jobs that have failed for good. */
  readonly dead: Owner;
}

/** What a broker needs to be opened. */
export interface BrokerDeps {
  readonly clock: Clock;
  /** Names this process to the broker and to the people who look into it: `host:pid:nonce`. */
  readonly owner: string;
  /** What runs here, for brokers that show it. */
  readonly process?: ProcessInfo;
  /** Is told what the broker does by itself. */
  readonly observe?: Observer;
  /** A broker that cannot be opened now is opened later: its calls reject until then. */
  readonly isPatient?: boolean;
  /** Is told what a person has told this process by way of the broker. */
  readonly onSignal?: (signal: RemoteSignal) => void;
}

/**
 * A kind of broker: a driver, and the message formats that it takes. All of it is known before a broker is opened, so that
 * configuration, `check`, documentation and the conformance suite read the same.
 */
export interface BrokerType<All extends Options = Options, Settings = unknown> {
  /** As the configuration calls it. */
  readonly driver: string;
  /** By name; at least one. */
  readonly formats: Readonly<Record<string, Format>>;
  /** One of them. */
  readonly defaultFormat: string;
  /** The least that its server can do. */
  readonly capabilities: Capabilities;
  /** Who sees to what becomes of jobs of this format, one of its own. */
  ownership(format: string): Ownership;
  /** The keys of its table in the configuration, beside `driver` and `format`. */
  readonly options: All;
  /** How the values of several keys fit together. */
  check?(written: Written, path: Path): Problem[];
  /** What the checked keys mean. @param folder Where relative paths begin. */
  settings(values: OptionValues<All>, folder: string): Settings;
  /** Why it can have no queue of this name; undefined when it can. The end of a sentence about the queue. */
  whyQueueIsRefused?(queue: string): string | undefined;
  /** Why a payload is none of its jobs, where not all are; the end of a sentence about the payload. */
  whyPayloadIsRefused?(payload: Uint8Array, format: Format): string | undefined;
  /** @throws {FervoError} QUEUE_UNAVAILABLE, unless it is patient */
  open(deps: BrokerDeps, settings: Settings, format: Format): Broker;
  /** What to change when it cannot be used. @param place The table in the configuration, such as `in [brokers.default]:`. */
  fixOf(error: FervoError, settings: Settings, place: string): string;
  /** Connections, or other descriptors, that a consumer takes here at most, beside those that never wait. */
  descriptors(consumer: { readonly concurrency: number; readonly queues: number }): number;
  /** What it finds in its own settings, by stable ids: see `FINDING_TEXTS`. */
  readonly findings: Readonly<Record<BrokerFindingId, FindingText>>;
  /** What its server may be called as a unit of systemd; the worker is to start after it. */
  readonly units: readonly string[];
  /** Other machines can take its jobs, too. */
  readonly isShared: boolean;
  /** Folders that the worker writes into. */
  folders?(settings: Settings): readonly string[];
  /** Files that hold a secret, and which. */
  secretFiles?(settings: Settings): readonly { readonly path: string; readonly what: string }[];
}

/** A broker as the configuration has it. */
export interface BrokerConfig {
  readonly type: BrokerType;
  readonly format: Format;
  readonly settings: unknown;
}
