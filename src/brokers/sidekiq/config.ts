import { resolve } from "node:path";
import { JobError } from "../../core/errors.ts";
import {
  filePath,
  flag,
  type OptionValues,
  type Path,
  type Problem,
  readable,
  readableTexts,
  text,
  wholeNumber,
  type Written,
} from "../../core/option.ts";
import { sidekiq6, sidekiq7, sidekiq8, SidekiqFormat } from "../../formats/sidekiq.ts";
import { DEFAULT_REDIS_PORT, parseHostPort, parseRedisUrl } from "../../redis/address.ts";
import { answerCode } from "../../redis/errors.ts";
import { hasHashTag, parseSentinel } from "../../redis/server.ts";
import { OptionFileError } from "../../system/option_file.ts";
import type { BrokerType } from "../broker_type.ts";
import {
  DEFAULT_REDIS_OPTIONS,
  SIDEKIQ_CAPABILITIES,
  SidekiqBroker,
  type SidekiqBrokerOptions,
} from "./broker.ts";

const MINUTE_MS = 60_000;
const HOUR_MS = 60 * MINUTE_MS;
const HOST_PORTS = 'expected a list of hosts and ports, such as ["10.0.0.1:26379"]';
const hostPorts = readableTexts((value) => parseHostPort(value, 1), HOST_PORTS);

const options = {
  url: readable(
    parseRedisUrl,
    'expected an address such as "redis://127.0.0.1:6379/0", "rediss://host:6380" for TLS, or "unix:///run/redis.sock"',
    "redis://127.0.0.1:6379",
  ),
  username: text(/^[^\0]*$/, "a user's name without NUL", ""),
  password: text(
    /^[^\0]*$/,
    'a password in quotes, best from the environment, as in "${REDIS_PASSWORD}"',
    "",
  ),
  password_file: filePath("the password"),
  ca_file: filePath("the certificates to trust"),
  key_prefix: text(/^[^\0]{0,200}$/, "up to 200 characters without NUL", DEFAULT_REDIS_OPTIONS.keyPrefix),
  sentinels: hostPorts,
  master: text(/^[A-Za-z0-9._-]*$/, 'a master\'s name as the Sentinels have it, such as "mymaster"', ""),
  sentinel_password: text(/^[^\0]*$/, "a password without NUL", ""),
  cluster: flag(false),
  nodes: hostPorts,
  lease_ms: wholeNumber(1_000, 24 * HOUR_MS, DEFAULT_REDIS_OPTIONS.leaseMs),
  connect_timeout_ms: wholeNumber(1, 10 * MINUTE_MS, DEFAULT_REDIS_OPTIONS.connectTimeoutMs),
  keepalive_ms: wholeNumber(0, HOUR_MS, DEFAULT_REDIS_OPTIONS.keepaliveMs),
  max_payload_bytes: wholeNumber(1, 1_000_000_000, DEFAULT_REDIS_OPTIONS.maxPayloadBytes),
};

/** Redis's answers to a wrong user or password. */
const LOGIN_REFUSALS: ReadonlySet<string> = new Set(["WRONGPASS", "NOAUTH", "NOPERM"]);
/** At most this many queues have a waiting connection. */
const MAX_WAITS = 16;

export const SIDEKIQ: BrokerType<typeof options, SidekiqBrokerOptions> = {
  driver: "redis",
  page: "sidekiq",
  formats: { sidekiq6, sidekiq7, sidekiq8 },
  defaultFormat: "sidekiq7",
  capabilities: SIDEKIQ_CAPABILITIES,
  ownership: () => ({ attempts: "message", retry: "worker", dead: "broker" }),
  options,
  check,
  settings,
  whyPayloadIsRefused(payload, format) {
    try {
      format.read({ body: payload, headers: {} });
    } catch (error) {
      if (!(error instanceof JobError)) throw error;
      return `is not a Sidekiq job: expected one such as '{"class":"ReportJob","args":[]}' (${error.message})`;
    }
    return undefined;
  },
  open(deps, settings, format) {
    if (!(format instanceof SidekiqFormat)) {
      throw new TypeError(`"${format.name}" is not one of Sidekiq's formats`);
    }
    return SidekiqBroker.open({ ...deps, format }, settings);
  },
  fixOf(error, _settings, place) {
    if (error instanceof OptionFileError) return error.fix;
    const answer = answerCode(error.cause);
    if (answer === undefined) {
      return `start it, for instance with: systemctl start redis-server; or ${place} url = where it listens`;
    }
    return LOGIN_REFUSALS.has(answer)
      ? `${place} username, and password or password_file, of a user with the rights in docs/brokers/sidekiq.md`
      : `${place} url = a server that accepts writes, if this one does not recover`;
  },
  descriptors: ({ queues }) => Math.min(queues, MAX_WAITS),
  findings: {
    "redis.version": { looksAt: "Redis is of version 6.2 or newer." },
    "redis.eviction": {
      looksAt: "`maxmemory-policy` is `noeviction`. Any other policy deletes jobs when the memory is full.",
    },
    "redis.replica": { looksAt: "The server is a master. A replica cannot be written to." },
    "redis.persistence": {
      looksAt:
        "`appendonly` is on, and Redis can write to its disk. Otherwise jobs are lost when Redis dies.",
    },
    "redis.memory": {
      looksAt:
        "At least a tenth of `maxmemory` is free. Without room no job can be pushed, taken or settled.",
    },
  },
  units: ["redis-server.service"],
  isShared: true,
  secretFiles: ({ passwordFile: path }) => path === undefined ? [] : [{ path, what: "the password" }],
};

/** Checks that the values of several keys fit together. */
function check(written: Written, path: Path): Problem[] {
  const broker: { readonly [Key in keyof typeof options]?: unknown } = written;
  const problems: Problem[] = [];
  const tell = (key: keyof typeof options, text: string) => problems.push({ path: [...path, key], text });
  const url = typeof broker.url === "string" ? urlOf(broker.url) : undefined;
  const hasSentinels = isFilled(broker.sentinels);
  const isCluster = broker.cluster === true;
  if (isFilled(broker.password) && isFilled(broker.password_file)) {
    tell("password_file", "set either password or password_file, not both");
  }
  for (const [key, own] of [["username", url?.username], ["password", url?.password]] as const) {
    if (isFilled(broker[key]) && own !== undefined) {
      tell(key, `the url has a ${key} too: set only one of them`);
    }
  }
  if (isFilled(broker.password_file) && url?.password !== undefined) {
    tell("password_file", "the url has a password too: set only one of them");
  }
  if (isFilled(broker.ca_file) && url?.isTls === false) {
    tell("ca_file", "ca_file has no effect without TLS: begin the url with rediss://, or remove ca_file");
  }
  if (hasSentinels !== isFilled(broker.master)) {
    const text = hasSentinels
      ? 'sentinels need the name of the master that they watch: set master, such as master = "mymaster"'
      : "master has no effect without sentinels: add them, or remove it";
    tell(hasSentinels ? "sentinels" : "master", text);
  }
  if (isFilled(broker.sentinel_password) && !hasSentinels) {
    tell("sentinel_password", "sentinel_password has no effect without sentinels: add them, or remove it");
  }
  if (isFilled(broker.nodes) && !isCluster) {
    tell("nodes", "nodes have no effect without a cluster: set cluster = true, or remove them");
  }
  if (!isCluster) return problems;
  if (hasSentinels) tell("cluster", "a cluster has no Sentinels: remove sentinels, or cluster");
  if (typeof broker.key_prefix !== "string" || !hasHashTag(broker.key_prefix)) {
    tell(
      broker.key_prefix === undefined ? "cluster" : "key_prefix",
      "a cluster must keep all keys on one server, because each command uses several: give key_prefix a part in " +
        'braces, such as key_prefix = "{jobs}:". Producers must use the same prefix',
    );
  }
  if ((url?.database ?? 0) !== 0) tell("url", "a cluster has no databases: remove the number from the url");
  if (url?.endpoint.transport === "unix") {
    tell("url", "a cluster is reached over TCP only: give host and port");
  }
  return problems;
}

function settings(broker: OptionValues<typeof options>, folder: string): SidekiqBrokerOptions {
  const url = parseRedisUrl(broker.url);
  const file = (path: string) => path === "" ? undefined : resolve(folder, path);
  return {
    target: targetOf(broker, url.endpoint),
    username: broker.username || url.username,
    password: broker.password || url.password,
    passwordFile: file(broker.password_file),
    isTls: url.isTls,
    caFile: file(broker.ca_file),
    database: url.database ?? 0,
    keyPrefix: broker.key_prefix,
    leaseMs: broker.lease_ms,
    connectTimeoutMs: broker.connect_timeout_ms,
    keepaliveMs: broker.keepalive_ms,
    maxPayloadBytes: broker.max_payload_bytes,
  };
}

function targetOf(
  { sentinels, master, sentinel_password, cluster, nodes, key_prefix }: OptionValues<typeof options>,
  endpoint: ReturnType<typeof parseRedisUrl>["endpoint"],
): SidekiqBrokerOptions["target"] {
  if (sentinels.length > 0) {
    return {
      kind: "sentinel",
      master,
      sentinels: sentinels.map(parseSentinel),
      password: sentinel_password || undefined,
    };
  }
  if (!cluster) return { kind: "server", endpoint };
  const more = nodes.map((node) => parseHostPort(node, DEFAULT_REDIS_PORT));
  return { kind: "cluster", nodes: [endpoint, ...more], key: key_prefix };
}

/** Present and not empty. */
function isFilled(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : typeof value === "string" && value !== "";
}

function urlOf(url: string): ReturnType<typeof parseRedisUrl> | undefined {
  try {
    return parseRedisUrl(url);
  } catch {
    return undefined;
  }
}
