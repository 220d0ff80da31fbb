import { dirname, resolve } from "node:path";
import { text, wholeNumber } from "../../core/option.ts";
import { envelope } from "../../formats/envelope.ts";
import { raw } from "../../formats/raw.ts";
import type { PlainFormat } from "../../core/format.ts";
import type { BrokerType } from "../broker_type.ts";
import { LateBroker } from "../late_broker.ts";
import {
  DEFAULT_SQLITE_OPTIONS,
  SQLITE_CAPABILITIES,
  SqliteBroker,
  type SqliteBrokerOptions,
} from "./broker.ts";
import { SqliteHoldings } from "./leases.ts";

const MINUTE_MS = 60_000;
const DAY_MS = 24 * 60 * MINUTE_MS;
/** SQLite's own limit of a blob. */
const MAX_BLOB_BYTES = 1_000_000_000;

/** Several brokers of a process may use one file, also when one replaces the other. */
const holdings = new SqliteHoldings();

const options = {
  path: text(/^(?!:memory:$)[^\0]+$/, 'a file\'s path, such as "/var/lib/fervo-worker/queue.sqlite"'),
  lease_ms: wholeNumber(1_000, DAY_MS, DEFAULT_SQLITE_OPTIONS.leaseMs),
  busy_timeout_ms: wholeNumber(0, 10 * MINUTE_MS, DEFAULT_SQLITE_OPTIONS.busyTimeoutMs),
  file_mode: text(
    /^0?[67][0-7]{2}$/,
    'an octal mode that lets the owner read and write, such as "0600"',
    `0${DEFAULT_SQLITE_OPTIONS.fileMode.toString(8)}`,
  ),
  max_payload_bytes: wholeNumber(1, MAX_BLOB_BYTES, DEFAULT_SQLITE_OPTIONS.maxPayloadBytes),
};

export const SQLITE: BrokerType<typeof options, SqliteBrokerOptions> = {
  driver: "sqlite",
  page: "sqlite",
  formats: { raw, envelope },
  defaultFormat: "raw",
  capabilities: SQLITE_CAPABILITIES,
  ownership: () => ({ attempts: "broker", retry: "worker", dead: "broker" }),
  options,
  settings: (values, folder) => ({
    path: resolve(folder, values.path),
    leaseMs: values.lease_ms,
    busyTimeoutMs: values.busy_timeout_ms,
    fileMode: Number.parseInt(values.file_mode, 8),
    maxPayloadBytes: values.max_payload_bytes,
  }),
  open(deps, settings, format) {
    const open = () => SqliteBroker.open({ ...deps, format: format as PlainFormat, holdings }, settings);
    if (deps.isPatient !== true) return open();
    try {
      return open();
    } catch {
      return new LateBroker({ clock: deps.clock, open }, { capabilities: SQLITE_CAPABILITIES, format });
    }
  },
  fixOf({ cause }, { path }, place) {
    const { code, message = "" } = (cause ?? {}) as { code?: unknown; message?: string };
    if (code === "ENOENT") {
      return `as root: install -d -o USER ${dirname(path)}, with the worker's user for USER`;
    }
    // Never a chown of the folder: it may be /tmp, or somebody's home.
    return code === "EACCES" || /readonly|unable to open/.test(message)
      ? `as root: chown USER ${path}*, with the worker's user for USER, who must also be able to write the folder; ` +
        `or ${place} path = a file in a folder of that user`
      : `${place} path = another file, on a local disk with room`;
  },
  descriptors: () => 0,
  findings: {
    "sqlite.journal": { looksAt: "The journal mode of the queue's file is WAL." },
    "sqlite.file_system": {
      looksAt:
        "The queue's file is on a local disk, not on a network file system, in memory, or in a container's own layer.",
    },
    "sqlite.disk_space": {
      looksAt: "The disk of the queue's file has 100 MiB free. Below 1 MiB it is full, which is an error.",
    },
    "sqlite.owner": {
      looksAt: "As root: who owns the queue's file, and whether the folder's owner can open it.",
    },
  },
  units: [],
  isShared: false,
  folders: ({ path }) => [dirname(path)],
};
