import type { ErrorCode } from "../core/errors.ts";

/** The meaning of the exit code. Documented in `fervo-worker --help` and docs/running.md. */
export const ExitCode = {
  ok: 0,
  /** Something failed while the command ran. */
  failed: 1,
  /** The command line is wrong. */
  usage: 2,
  /** The configuration is wrong. */
  config: 3,
  /** The broker, php-fpm or a running worker cannot be reached, or nothing can run the jobs. */
  unavailable: 4,
  /** `run --until-empty` is done, and some jobs became dead letters. */
  died: 5,
  /** A signal interrupted a measurement: 128 and the number of SIGINT, as in shells. */
  interrupted: 130,
} as const;

export type ExitCode = (typeof ExitCode)[keyof typeof ExitCode];

export function exitCodeOf(code: ErrorCode): ExitCode {
  switch (code) {
    case "CONFIG_INVALID":
    case "FPM_MISCONFIGURED":
    case "PROCESS_MISCONFIGURED":
      return ExitCode.config;
    case "QUEUE_UNAVAILABLE":
    case "FASTCGI_CONNECT_FAILED":
    case "FASTCGI_OVERLOADED":
    case "FASTCGI_FIRST_BYTE_TIMEOUT":
    case "APPLICATION_NOT_STARTED":
    case "PROCESS_FAILED":
    case "LISTEN_FAILED":
    case "WORKER_UNAVAILABLE":
      return ExitCode.unavailable;
    default:
      return ExitCode.failed;
  }
}
