/** How a broker fails. */
export interface Failure {
  /** For the log. */
  readonly what: string;
  readonly weight: number;
  /** Fails for this long; resolves when the broker is back. */
  begin(ms: number): Promise<void>;
}

/** A broker that can be made to fail. */
export interface SoakBroker extends AsyncDisposable {
  /** Its table in the worker's configuration. */
  readonly table: string;
  /** A message of the broker's format with this payload. */
  message(payload: string): string;
  readonly failures: readonly Failure[];
  /** After the death of a worker, or a failure: until leases have ended, and what is lost is taken back; milliseconds. */
  readonly recoveryMs: number;
  /** Leases end by the clock of the workers, which is stepped; else by the broker's own, which is not. */
  readonly hasWorkersClock: boolean;
  /** Puts a backup of it in its place, while the workers run and nobody pushes. */
  restore?(): Promise<void>;
}
