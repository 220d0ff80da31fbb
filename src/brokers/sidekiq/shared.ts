import { createHash } from "node:crypto";
import type { Observer } from "../../core/observer.ts";
import type { Clock } from "../../core/time/clock.ts";
import type { SidekiqFormat } from "../../formats/sidekiq.ts";
import type { RedisConnection } from "../../redis/connection.ts";
import type { RedisKeys } from "./keys.ts";

/** Shared by the parts of the broker. */
export interface RedisShared {
  readonly connection: RedisConnection;
  readonly keys: RedisKeys;
  readonly jobs: SidekiqFormat;
  readonly clock: Clock;
  readonly observe: Observer;
  /** Names this process and its in-flight lists. */
  readonly identity: string;
}

/** The id of a message without one: the SHA-1 of its bytes. */
export function hashOf(raw: Uint8Array): string {
  return createHash("sha1").update(raw).digest("hex");
}
