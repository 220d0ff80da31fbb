import type { Config } from "../../../config/config.ts";
import { FervoError, reasonOf } from "../../../core/errors.ts";
import type { Finding } from "../../../core/finding.ts";

/** A finding with its part of the configuration, e.g. `fpm.default`. */
export interface PlacedFinding extends Finding {
  readonly subject: string;
}

/** The extent of the check. */
export interface CheckOptions {
  readonly callScript?: true | undefined;
  readonly fpmConfig?: string | undefined;
  readonly phpFpm?: string | undefined;
}

/** The subject of the check. */
export interface CheckContext {
  readonly config: Config;
  /** The path of the configuration. */
  readonly file: string;
  readonly options: CheckOptions;
}

/** The finding for an error that prevented a check, with the remedy. */
export function failure(id: Finding["id"], error: unknown, fix: string): Finding {
  const code = error instanceof FervoError ? error.code : "QUEUE_UNAVAILABLE";
  return { id, severity: "error", code, what: reasonOf(error), fix };
}
