import { dirname } from "node:path";
import type { Finding } from "../../core/finding.ts";
import { fileReason } from "../../core/text/file_error.ts";
import { diskOf } from "./store/disk.ts";

/** The facts about a database file and its place. */
export interface SqliteFacts {
  readonly path: string;
  /** `PRAGMA journal_mode`. */
  readonly journalMode: string;
  /** `f_type` of statfs(2); or why it is unknown. */
  readonly fileSystem: number | string;
  /** The free space for users without special rights; undefined if unknown. */
  readonly freeBytes?: number | undefined;
  /** User ids: the owner of the file, the owner of its folder, and the current user; undefined if unknown. */
  readonly owners?: { readonly file: number; readonly folder: number; readonly asking: number } | undefined;
}

interface FileSystem {
  readonly name: string;
  readonly kind: "network" | "memory" | "container" | "unclear";
}

/** Relevant file systems by their magic numbers (linux/magic.h); any other one is a local disk's. */
const FILE_SYSTEMS: ReadonlyMap<number, FileSystem> = new Map([
  [0x6969, { name: "nfs", kind: "network" }],
  [0x517b, { name: "smb", kind: "network" }],
  [0xff53_4d42, { name: "cifs", kind: "network" }],
  [0xfe53_4d42, { name: "smb2", kind: "network" }],
  [0x0102_1997, { name: "9p", kind: "network" }],
  [0x00c3_6400, { name: "ceph", kind: "network" }],
  [0x5346_414f, { name: "afs", kind: "network" }],
  [0x0bd0_0bd0, { name: "lustre", kind: "network" }],
  [0x786f_4256, { name: "vboxsf", kind: "network" }],
  [0x0102_1994, { name: "tmpfs", kind: "memory" }],
  [0x8584_58f6, { name: "ramfs", kind: "memory" }],
  [0x794c_7630, { name: "overlayfs", kind: "container" }],
  [0x6573_5546, { name: "fuse", kind: "unclear" }],
]);

/** The facts of a file that is open with this journal mode. */
export function sqliteFacts(path: string, journalMode: string): SqliteFacts {
  return { path, journalMode, ...fileSystemOf(path), owners: ownersOf(path) };
}

/** Judges the facts. */
export function sqliteFindings({ path, journalMode, fileSystem, freeBytes, owners }: SqliteFacts): Finding[] {
  return [
    journal(journalMode),
    fileSystemFinding(path, fileSystem),
    ...(freeBytes === undefined ? [] : [diskSpace(path, freeBytes)]),
    ...ownerFindings(path, owners),
  ];
}

const MIB = 1_048_576;
/** With less space, a push or an acknowledgement fails now or soon, bytes. */
const FULL_BYTES = MIB;
/** With less space, the disk is full soon, bytes. */
const NEARLY_FULL_BYTES = 100 * MIB;

function diskSpace(path: string, freeBytes: number): Finding {
  const id = "sqlite.disk_space";
  const free = `${Math.floor(freeBytes / MIB)} MiB`;
  if (freeBytes >= NEARLY_FULL_BYTES) return { id, severity: "ok", what: `its disk has ${free} free` };
  const fix = `make room on the disk of "${dirname(path)}"`;
  return freeBytes >= FULL_BYTES
    ? {
      id,
      severity: "warning",
      what: `the disk of "${path}" has ${free} free`,
      why: "when it is full no job can be pushed, taken or settled",
      fix,
    }
    : {
      id,
      severity: "error",
      code: "QUEUE_UNAVAILABLE",
      what: `the disk of "${path}" is full`,
      why: "no job can be pushed, taken or settled until there is room; none is lost",
      fix,
    };
}

/** root may do everything: its files, and its good findings, may not be for others. */
function ownerFindings(path: string, owners: SqliteFacts["owners"]): Finding[] {
  const id = "sqlite.owner";
  if (owners === undefined || owners.asking !== 0 || owners.folder === 0) return [];
  const { file, folder } = owners;
  if (file === 0) {
    return [{
      id,
      severity: "notice",
      what: `root owns "${path}", in a folder of user ${folder}`,
      why: "a worker that runs as that user cannot open it",
      fix: `chown ${folder} ${path} ${path}-wal ${path}-shm`,
    }];
  }
  return [{
    id,
    severity: "notice",
    what: `user ${file} owns "${path}", and check ran as root: it cannot see which rights that user lacks`,
    fix: `as root: fervo-worker check --user ${file}`,
  }];
}

function journal(mode: string): Finding {
  const id = "sqlite.journal";
  if (mode === "wal") return { id, severity: "ok", what: "the journal mode is WAL" };
  return {
    id,
    severity: "error",
    code: "QUEUE_UNAVAILABLE",
    what: `the journal mode is "${mode}"`,
    why: "workers and producers lock each other out",
    fix: "in SQLite: PRAGMA journal_mode = WAL",
  };
}

function fileSystemFinding(path: string, fileSystem: SqliteFacts["fileSystem"]): Finding {
  const id = "sqlite.file_system";
  const fix = "in [brokers.NAME]: path = a file on a local disk, such as /var/lib/fervo-worker/queue.sqlite";
  if (typeof fileSystem === "string") {
    return {
      id,
      severity: "notice",
      what: `the file system of "${path}" is unknown: ${fileSystem}`,
      why: "SQLite's WAL does not work over a network",
    };
  }
  const { name, kind } = FILE_SYSTEMS.get(fileSystem >>> 0) ?? { name: "", kind: "local" as const };
  const what = `"${path}" is on ${name}`;
  switch (kind) {
    case "local":
      return { id, severity: "ok", what: `"${path}" is on a local disk` };
    case "network":
      return {
        id,
        severity: "error",
        code: "CONFIG_INVALID",
        what: `${what}, which other machines share`,
        why: "SQLite's WAL does not work over a network: the file can be destroyed",
        fix,
      };
    case "memory":
      return {
        id,
        severity: "warning",
        what: `${what}, in memory`,
        why: "all jobs are lost when the machine restarts",
        fix,
      };
    case "container":
      return {
        id,
        severity: "notice",
        what: `${what}, as in a container without a volume`,
        why: "all jobs are lost when the container is recreated",
        fix: "mount a volume for the folder of the queue",
      };
    case "unclear":
      return {
        id,
        severity: "notice",
        what: `${what}, and the file system below it is unknown`,
        why: "SQLite's WAL does not work over a network",
        fix,
      };
  }
}

function ownersOf(path: string): SqliteFacts["owners"] {
  const [file, folder, asking] = [Deno.statSync(path).uid, Deno.statSync(dirname(path)).uid, Deno.uid()];
  return file === null || folder === null || asking === null ? undefined : { file, folder, asking };
}

function fileSystemOf(path: string): Pick<SqliteFacts, "fileSystem" | "freeBytes"> {
  try {
    const { type, freeBytes } = diskOf(path);
    return { fileSystem: type, freeBytes };
  } catch (error) {
    return { fileSystem: fileReason(error) };
  }
}
