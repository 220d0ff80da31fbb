import { FervoError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Outcome } from "../../core/outcome.ts";

/** After this many losses together with php-fpm in a row, the job may be the cause: then it counts. */
const MAX_UNCOUNTED_LOSSES = 3;
/** The losses of this many jobs are remembered; another worker may run them next. */
const MAX_REMEMBERED_LOSSES = 10_000;

/** How often jobs were lost together with php-fpm in a row. */
export class Losses {
  readonly #counts = new Map<string, number>();

  has(job: Job): boolean {
    return this.#counts.size > 0 && this.#counts.has(nameOf(job));
  }

  forget(job: Job): void {
    if (this.#counts.size > 0) this.#counts.delete(nameOf(job));
  }

  /** Counts one more. False, and forgets the job, when there were so many that the job may be the cause. */
  add(job: Job): boolean {
    const name = nameOf(job);
    const count = (this.#counts.get(name) ?? 0) + 1;
    this.#counts.delete(name);
    if (count > MAX_UNCOUNTED_LOSSES) return false;
    this.#counts.set(name, count);
    if (this.#counts.size > MAX_REMEMBERED_LOSSES) this.#counts.delete(this.#counts.keys().next().value!);
    return true;
  }
}

/** The connection was lost, and the job is not the cause. */
export function lostWithFpm(cause: FervoError): Outcome {
  const text =
    "php-fpm was stopped, restarted or reloaded, or does not serve this machine (listen.allowed_clients): " +
    cause.message;
  const error = new FervoError(cause.code, text, { details: cause.details, cause });
  return { kind: "release", reason: "unavailable", error };
}

/** Identifies a job within its broker. */
function nameOf({ queue, id }: Job): string {
  return `${queue}/${id}`;
}
