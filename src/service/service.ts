import { FervoError } from "../core/errors.ts";

/** How a worker is to be run as a service. Paths are absolute. */
export interface WorkerService {
  /** Of the program or unit; that of its php-fpm is {@link fpmName}. */
  readonly name: string;
  /** The executable. */
  readonly program: string;
  readonly configFile: string;
  readonly user: string;
  /** Folders that the worker writes to: those of embedded queues. */
  readonly folders: readonly string[];
  /** Units of systemd that brokers may be: the worker starts after them. */
  readonly brokerUnits: readonly string[];
  /** Folder of its control socket; undefined when it has none. */
  readonly controlFolder: string | undefined;
  /** Folders of the sockets that it connects to. */
  readonly socketFolders: readonly string[];
  /** It needs at most this long after SIGTERM, seconds. */
  readonly stopS: number;
  /** File descriptors that it needs. */
  readonly openFiles: number;
  /** Some of its jobs are processes of its own. */
  readonly runsProcesses: boolean;
  /** php-fpm is one of {@link FpmService}. */
  readonly hasOwnFpm: boolean;
  /** Folders below /run, which is empty after a start of the machine, that have to be made before. */
  readonly runFolders: readonly string[];
  /** php-fpm as the system has it; undefined when there is none on this machine. */
  readonly fpmProgram: string | undefined;
}

/** How a php-fpm master for jobs alone is to be run. Paths are absolute. */
export interface FpmService {
  /** Of the worker that it is for. */
  readonly name: string;
  /** php-fpm; "" where nothing is to run it. */
  readonly program: string;
  /** Where its configuration will be. */
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
  /** Above `timeout_ms` of all jobs, seconds. */
  readonly terminateS: number;
}

/** What the program or unit of a worker's own php-fpm is called. */
export function fpmName(worker: string): string {
  return `${worker}-fpm`;
}

/** A file to be installed. */
export interface ServiceFile {
  /** Where it belongs. */
  readonly path: string;
  readonly text: string;
}

/**
 * A value that means itself in all of these files, whatever their rules of quoting and expansion are.
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
