import { FervoError } from "../core/errors.ts";

/** The facts for running a worker as a service. Paths are absolute. */
export interface WorkerService {
  /** The name of the program or unit; its php-fpm's is {@link fpmName}. */
  readonly name: string;
  /** The executable. */
  readonly program: string;
  readonly configFile: string;
  readonly user: string;
  /** Folders that the worker writes to: those of embedded queues. */
  readonly folders: readonly string[];
  /** Possible systemd units of brokers: the worker starts after them. */
  readonly brokerUnits: readonly string[];
  /** Folder of its control socket; undefined without one. */
  readonly controlFolder: string | undefined;
  /** Folders of the sockets that it connects to. */
  readonly socketFolders: readonly string[];
  /** It needs at most this long after SIGTERM, seconds. */
  readonly stopS: number;
  /** File descriptors that it needs. */
  readonly openFiles: number;
  /** Some of its jobs are its own child processes. */
  readonly runsProcesses: boolean;
  /** Its php-fpm is an {@link FpmService}. */
  readonly hasOwnFpm: boolean;
  /** Folders below /run, which is empty after a start of the machine: they must be created before. */
  readonly runFolders: readonly string[];
  /** The system's php-fpm; undefined without one. */
  readonly fpmProgram: string | undefined;
}

/** The facts for running a php-fpm master for jobs only. Paths are absolute. */
export interface FpmService {
  /** Of the worker that it is for. */
  readonly name: string;
  /** php-fpm; "" if no service runs it. */
  readonly program: string;
  /** The path of its configuration. */
  readonly configFile: string;
  readonly user: string;
  /** How long a reload or a stop lets jobs finish, seconds. */
  readonly controlS: number;
  /** At least one. */
  readonly pools: readonly FpmPool[];
}

export interface FpmPool {
  readonly name: string;
  /** As for `listen`. */
  readonly listen: string;
  /** It listens on a unix socket. */
  readonly isSocket: boolean;
  readonly children: number;
  readonly statusPath: string;
  /** As for `pm.status_listen`. */
  readonly statusListen: string | undefined;
  readonly pingPath: string | undefined;
  /** Longer than `timeout_ms` of all jobs, seconds. */
  readonly terminateS: number;
}

/** The program or unit of a worker's own php-fpm. */
export function fpmName(worker: string): string {
  return `${worker}-fpm`;
}

/** A file to be installed. */
export interface ServiceFile {
  /** Its destination. */
  readonly path: string;
  readonly text: string;
}

/**
 * A value that needs no quoting in any of these files, whatever their rules.
 *
 * @throws {FervoError} CONFIG_INVALID for any other one
 */
export function plain(value: string | number): string {
  const text = String(value);
  if (/^[A-Za-z0-9_@+=:,.\/[\]-]+$/.test(text)) return text;
  const allowed = "letters, digits and _ @ + = : , . / [ ] -";
  throw new FervoError(
    "CONFIG_INVALID",
    `Cannot put ${JSON.stringify(text)} into a service file: it may have ${allowed} only`,
  );
}
