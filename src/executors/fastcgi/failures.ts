import type { Clock } from "../../core/time/clock.ts";
import { asFervoError, FervoError } from "../../core/errors.ts";
import type { Job } from "../../core/job.ts";
import type { Observer } from "../../core/observer.ts";
import { type Outcome, outcomeOfFault } from "../../core/outcome.ts";
import type { ConnectionLostError } from "../../fastcgi/connection.ts";
import { type FpmControl, isAway } from "../../fpm/control.ts";
import { outcomeOfError } from "./answer.ts";
import { Losses, lostWithFpm } from "./losses.ts";

export interface FailuresDeps {
  /** The pool, by its status page. */
  readonly fpm: Pick<FpmControl, "hasLeftWithin" | "isRunning" | "endChild" | "ping">;
  readonly clock: Clock;
  readonly observe: Observer;
}

/** The job of a failed request. */
export interface Sent {
  /** A job that it ran. */
  readonly job: Job;
  /** SCRIPT_NAME, which identifies it in php-fpm. */
  readonly uri: () => string;
  /** When it began, monotonic milliseconds. */
  readonly startedMs: number;
}

/**
 * Requests without an answer: finds the cause, and ends the PHP process that may still run one.
 *
 * The death of a child is the fault of its job; a stop, restart or reload of php-fpm is not.
 */
export class Failures {
  readonly #fpm: FailuresDeps["fpm"];
  readonly #clock: Clock;
  readonly #observe: Observer;
  readonly #killOnTimeout: boolean;
  /** Children that are being ended, by SCRIPT_NAME. */
  readonly #endings = new Map<string, Promise<boolean>>();
  readonly #losses = new Losses();

  constructor({ fpm, clock, observe }: FailuresDeps, { killOnTimeout }: { killOnTimeout: boolean }) {
    this.#fpm = fpm;
    this.#clock = clock;
    this.#observe = observe;
    this.#killOnTimeout = killOnTimeout;
  }

  /** Whether the job's last run was lost together with php-fpm. */
  wasLostWithFpm(job: Job): boolean {
    return this.#losses.has(job);
  }

  answered(job: Job): void {
    this.#losses.forget(job);
  }

  /** The meaning of a failed request for the job that it ran. Never rejects. */
  async outcomeOf(error: unknown, { job, uri, startedMs }: Sent): Promise<Outcome> {
    if (!(error instanceof FervoError)) return outcomeOfError(error);
    try {
      switch (error.code) {
        case "FASTCGI_CONNECTION_LOST":
          return await this.#outcomeOfLoss(error, job, this.#clock.monotonicMs() - startedMs);
        case "FASTCGI_FIRST_BYTE_TIMEOUT":
          return await this.#outcomeOfSilence(error, job, uri());
        case "FASTCGI_PROTOCOL":
          return await this.#outcomeOfNonsense(error);
        case "SHUTDOWN":
          return await this.#outcomeOfCut(error, job, uri());
        case "JOB_TIMEOUT":
          void this.endChildOf(job, uri(), "timeout");
      }
      return outcomeOfError(error);
    } catch (fault) {
      return outcomeOfFault(fault);
    }
  }

  /**
   * Whether to send a job once more whose kept connection ended without an answer. No if only this child died and php-fpm
   * stayed, or while the child still ran the previous job.
   */
  async mayNotHaveRun(
    lost: ConnectionLostError,
    { queue, id, attempt }: Pick<Job, "queue" | "id" | "attempt">,
  ): Promise<boolean> {
    if (lost.isReset && !lost.isWaiting && await this.#fpm.hasLeftWithin(lost.afterMs) === false) {
      return false;
    }
    this.#observe({ type: "job_resent", queue, id, attempt, error: lost });
    return true;
  }

  /**
   * A job that was lost together with php-fpm is sent again when php-fpm answers. If something ends all connections, such as
   * listen.allowed_clients or a proxy, that is not the job's fault, however often it happens.
   *
   * @returns The job's outcome while php-fpm does not answer.
   */
  async stillAway(): Promise<Outcome | undefined> {
    try {
      await this.#fpm.ping();
    } catch (error) {
      if (isAway(error)) return lostWithFpm(error);
      if (!(error instanceof FervoError)) throw error;
    }
    return undefined;
  }

  /** Ends the child that runs a request, if configured. Resolves with whether it has ended for certain; never rejects. */
  endChildOf(job: Job, uri: string, after: "timeout" | "shutdown"): Promise<boolean> {
    if (!this.#killOnTimeout) return Promise.resolve(false);
    const { queue, id, attempt } = job;
    const ending = this.#fpm.endChild(uri).then(
      (pid) => {
        this.#observe({ type: "child_ended", after, queue, id, attempt, pid });
        return pid !== undefined;
      },
      (thrown) => {
        this.#observe({ type: "child_not_ended", after, queue, id, attempt, error: asFervoError(thrown) });
        return false;
      },
    ).finally(() => this.#endings.delete(uri));
    this.#endings.set(uri, ending);
    return ending;
  }

  /** Whether no child runs the request any more, for certain; ends the child, if allowed. Never rejects. */
  async isOver(job: Job, uri: string): Promise<boolean> {
    await this.#endings.get(uri);
    const isRunning = () => this.#fpm.isRunning(uri).catch(() => undefined);
    if (await isRunning() === false || await this.endChildOf(job, uri, "timeout")) return true;
    // It may have ended by itself.
    return await isRunning() === false;
  }

  /** Waits until the children have ended. */
  async close(): Promise<void> {
    await Promise.all(this.#endings.values());
  }

  async #outcomeOfLoss(error: FervoError, job: Job, ageMs: number): Promise<Outcome> {
    if (await this.#fpm.hasLeftWithin(ageMs) === true && this.#losses.add(job)) return lostWithFpm(error);
    this.#losses.forget(job);
    return outcomeOfError(error);
  }

  /**
   * A job that no child has begun did not fail; it waits in php-fpm's listen queue. The request stays there, so PHP must know
   * by FERVO_START_BY that it is too late.
   */
  async #outcomeOfSilence(error: FervoError, job: Job, uri: string): Promise<Outcome> {
    if (await this.#fpm.isRunning(uri) === false) {
      return { kind: "release", reason: "unavailable", error };
    }
    void this.endChildOf(job, uri, "timeout");
    return outcomeOfError(error);
  }

  /** PHP does not end with its connection. Whoever puts the job back must know whether it has ended. */
  async #outcomeOfCut(error: FervoError, job: Job, uri: string): Promise<Outcome> {
    const hasEnded = await this.endChildOf(job, uri, "shutdown");
    return { kind: "release", reason: "shutdown", error, ...(!hasEnded && { mayRunOn: true }) };
  }

  /** A server that answers a ping with nonsense, too, is no FastCGI application: no job has run there. */
  async #outcomeOfNonsense(error: FervoError): Promise<Outcome> {
    try {
      await this.#fpm.ping();
    } catch (alike) {
      if (!(alike instanceof FervoError)) throw alike;
      if (alike.code !== "FASTCGI_OVERLOADED") return { kind: "release", reason: "unavailable", error };
    }
    return outcomeOfError(error);
  }
}
