import type { Format } from "../core/format.ts";
import { envelope } from "./envelope.ts";
import { raw } from "./raw.ts";
import { sidekiq6, sidekiq7, sidekiq8 } from "./sidekiq.ts";

/** Every message format, by the name that the configuration uses. A new one is a file and a row here. */
export const FORMATS = { raw, envelope, sidekiq6, sidekiq7, sidekiq8 } as const satisfies Record<
  string,
  Format
>;

export type FormatName = keyof typeof FORMATS;
