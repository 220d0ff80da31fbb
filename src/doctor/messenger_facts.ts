/** A transport, as the application describes it; the names are those of the header. */
export interface TransportFacts {
  readonly kind: string;
  readonly table?: string;
  readonly queue_name?: string;
  readonly redeliver_timeout_ms?: number;
  /** Why its DSN or options cannot be read there. */
  readonly error?: string;
}

/** PHP in the pool. */
export interface PhpFacts {
  readonly version: string;
  /** In small letters. */
  readonly extensions: readonly string[];
  readonly settings: Readonly<Record<string, string>>;
}

/** What the front controller of a Symfony application tells of Messenger, in the header of a check's answer. */
export interface MessengerFacts {
  readonly transports: Readonly<Record<string, TransportFacts>>;
  /** Names of the transports whose messages have failed for good. */
  readonly failureTransports: readonly string[];
  readonly lock: { readonly kind: string; readonly isShared: boolean } | undefined;
  readonly php: PhpFacts | undefined;
  readonly files: {
    readonly user: string;
    readonly unreadable: readonly string[];
    readonly unwritable: readonly string[];
  } | undefined;
}

/** Reads `messenger` of the header's JSON. Undefined when the script does not tell it; a part of another form is left out. */
export function readMessengerFacts(header: string | undefined): MessengerFacts | undefined {
  const all = parsed(header ?? "");
  const messenger = isRecord(all) ? all.messenger : undefined;
  if (!isRecord(messenger) || !isRecord(messenger.transports)) return undefined;
  const { transports, lock, php, files } = messenger;
  return {
    failureTransports: texts(messenger.failure_transports),
    transports: Object.fromEntries(
      Object.entries(transports).map((
        [name, facts],
      ) => [name, isRecord(facts) ? transport(facts) : { kind: "unknown" }]),
    ),
    lock: isRecord(lock)
      ? { kind: textOf(lock.kind) ?? "unknown", isShared: lock.shared === true }
      : undefined,
    php: isRecord(php) ? phpFacts(php) : undefined,
    files: isRecord(files)
      ? {
        user: textOf(files.user) ?? "",
        unreadable: texts(files.unreadable),
        unwritable: texts(files.unwritable),
      }
      : undefined,
  };
}

/** The `queue_name` of each failure transport that has a place in a table. */
export function failureQueueNames(
  { transports, failureTransports }: MessengerFacts,
  table: string,
): ReadonlySet<string> {
  return new Set(failureTransports.flatMap((name) => {
    const facts = Object.hasOwn(transports, name) ? transports[name] : undefined;
    if (facts === undefined || facts.error !== undefined) return [name];
    return facts.table === table && facts.queue_name !== undefined ? [facts.queue_name] : [];
  }));
}

function transport(facts: Readonly<Record<string, unknown>>): TransportFacts {
  const { table, queue_name, redeliver_timeout_ms: timeoutMs, error } = facts;
  return {
    kind: textOf(facts.kind) ?? "unknown",
    ...(typeof table === "string" && { table }),
    ...(typeof queue_name === "string" && { queue_name }),
    ...(typeof timeoutMs === "number" && { redeliver_timeout_ms: timeoutMs }),
    ...(typeof error === "string" && { error }),
  };
}

function phpFacts(facts: Readonly<Record<string, unknown>>): PhpFacts {
  const settings = isRecord(facts.settings) ? Object.entries(facts.settings) : [];
  return {
    version: textOf(facts.version) ?? "",
    extensions: texts(facts.extensions),
    settings: Object.fromEntries(
      settings.filter((entry): entry is [string, string] => typeof entry[1] === "string"),
    ),
  };
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

function isRecord(value: unknown): value is Readonly<Record<string, unknown>> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

function textOf(value: unknown): string | undefined {
  return typeof value === "string" ? value : undefined;
}

function texts(value: unknown): string[] {
  return Array.isArray(value) ? value.filter((one) => typeof one === "string") : [];
}
