import { resolve } from "node:path";
import type { SidekiqBrokerOptions } from "../../brokers/sidekiq/broker.ts";
import { DEFAULT_REDIS_PORT, parseHostPort, parseRedisUrl } from "../../redis/address.ts";
import { hasHashTag, parseSentinel } from "../../redis/server.ts";
import type { Path, Problem } from "../problems.ts";

/** What of a Redis broker's table is read here, as written or with the defaults filled in. */
interface RedisTable {
  readonly url?: unknown;
  readonly username?: unknown;
  readonly password?: unknown;
  readonly password_file?: unknown;
  readonly ca_file?: unknown;
  readonly key_prefix?: unknown;
  readonly sentinels?: unknown;
  readonly master?: unknown;
  readonly sentinel_password?: unknown;
  readonly cluster?: unknown;
  readonly nodes?: unknown;
}

/** How the values of a Redis broker's keys fit together. */
export function checkRedis(broker: RedisTable, path: Path): Problem[] {
  const problems: Problem[] = [];
  const tell = (key: keyof RedisTable, text: string) => problems.push({ path: [...path, key], text });
  const url = typeof broker.url === "string" ? readable(broker.url) : undefined;
  const hasSentinels = isFilled(broker.sentinels);
  const isCluster = broker.cluster === true;
  if (isFilled(broker.password) && isFilled(broker.password_file)) {
    tell("password_file", "there are a password and a password_file: remove one");
  }
  for (const [key, own] of [["username", url?.username], ["password", url?.password]] as const) {
    if (isFilled(broker[key]) && own !== undefined) {
      tell(key, `there is a ${key} in the url, too: remove one`);
    }
  }
  if (isFilled(broker.password_file) && url?.password !== undefined) {
    tell("password_file", "there is a password in the url, too: remove one");
  }
  if (isFilled(broker.ca_file) && url?.isTls === false) {
    tell("ca_file", "ca_file has no effect without TLS: let the url begin with rediss://, or remove it");
  }
  if (hasSentinels !== isFilled(broker.master)) {
    const text = hasSentinels
      ? 'sentinels need the name of the master that they watch: set master = "mymaster", or as it is called there'
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
      "in a cluster all keys have to be on one server, for each step concerns several: give key_prefix a part in " +
        'braces, such as key_prefix = "{jobs}:". Producers have to use the same prefix',
    );
  }
  if ((url?.database ?? 0) !== 0) tell("url", "a cluster has no databases: remove the number from the url");
  if (url?.endpoint.transport === "unix") tell("url", "a cluster is reached over TCP: give host and port");
  return problems;
}

/** The driver's options that a checked table means. */
export function redisOptions(
  broker: { readonly [K in keyof RedisTable]-?: RedisValues[K] } & {
    readonly lease_ms: number;
    readonly connect_timeout_ms: number;
    readonly keepalive_ms: number;
    readonly max_payload_bytes: number;
  },
  folder: string,
): SidekiqBrokerOptions {
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

interface RedisValues extends Record<keyof RedisTable, unknown> {
  readonly url: string;
  readonly username: string;
  readonly password: string;
  readonly password_file: string;
  readonly ca_file: string;
  readonly key_prefix: string;
  readonly sentinels: readonly string[];
  readonly master: string;
  readonly sentinel_password: string;
  readonly cluster: boolean;
  readonly nodes: readonly string[];
}

function targetOf(
  { sentinels, master, sentinel_password, cluster, nodes, key_prefix }: RedisValues,
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

/** Neither left out nor empty. */
function isFilled(value: unknown): boolean {
  return Array.isArray(value) ? value.length > 0 : typeof value === "string" && value !== "";
}

function readable(url: string): ReturnType<typeof parseRedisUrl> | undefined {
  try {
    return parseRedisUrl(url);
  } catch {
    return undefined;
  }
}
