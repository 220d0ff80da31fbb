import type { ErrorCode } from "../core/errors.ts";

/** What the program's exit code tells. Documented in `fervo-worker --help` and docs/operations.md. */
export const ExitCode = {
  ok: 0,
  /** Something failed while the command ran. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The configuration is wrong. */
  config: 3,
  /** The broker or php-fpm cannot be reached. */
  unavailable: 4,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export function exitCodeOf(code: ErrorCode): ExitCode {
  switch (code) {
    case "CONFIG_INVALID":
    case "FPM_MISCONFIGURED":
      return ExitCode.config;
    case "QUEUE_UNAVAILABLE":
    case "FASTCGI_CONNECT_FAILED":
    case "FASTCGI_OVERLOADED":
      return ExitCode.unavailable;
    default:
      return ExitCode.failed;
  }
}
