import type { Config } from "../../../config/config.ts";
import { FervoError, reasonOf } from "../../../core/errors.ts";
import type { Finding } from "../../../core/finding.ts";

/** A finding, and which part of the configuration it is about, e.g. `fpm.default`. */
export interface PlacedFinding extends Finding {
  readonly subject: string;
}

/** How much is looked at. */
export interface CheckOptions {
  readonly callScript?: true | undefined;
  readonly fpmConfig?: string | undefined;
  readonly phpFpm?: string | undefined;
}

/** What is to be looked at. */
export interface CheckContext {
  readonly config: Config;
  /** Where the configuration is. */
  readonly file: string;
  readonly options: CheckOptions;
}

/** What an error means that kept something from being looked at, and what to change. */
export function failure(id: Finding["id"], error: unknown, fix: string): Finding {
  const code = error instanceof FervoError ? error.code : "QUEUE_UNAVAILABLE";
  return { id, severity: "error", code, what: reasonOf(error), fix };
}
