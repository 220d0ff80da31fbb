import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import { bytes, take } from "../../../conformance/fixture.ts";
import { SQLITE } from "../../../../src/brokers/sqlite/config.ts";
import { raw } from "../../../../src/formats/raw.ts";
import { DEFAULT_SQLITE_OPTIONS } from "../../../../src/brokers/sqlite/broker.ts";
import { SqliteWriter } from "../../../../src/brokers/sqlite/store/writer.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import { makeFolder, openSqlite } from "./broker.ts";
import { OtherProcess } from "./process.ts";
import { mountNamespace } from "../../../support/mount_namespace.ts";

const permissions = (path: string) => (Deno.statSync(path).mode! & 0o777).toString(8);

/** Before a command whose process must not do what only root may do: write to what is read-only for it. */
const WITHOUT_ROOT_POWERS = Deno.uid() === 0
  ? ["setpriv", "--bounding-set=-dac_override,-dac_read_search,-fowner"]
  : [];

Deno.test("SqliteBroker.open() creates the queue and its log for nobody else to read", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = openSqlite(path);
  await broker.push("q", bytes("secret"));
  for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal(permissions(file), "600", file);
});

Deno.test("SqliteBroker.open() creates files with fileMode and leaves existing permissions alone", async () => {
  await using folder = await makeFolder();
  const umask = Deno.umask(0o002);
  try {
    const path = `${folder.path}/queue.sqlite`;
    for (const fileMode of [0o660, 0o600]) {
      await using broker = openSqlite(path, { fileMode });
      await broker.push("q", bytes("shared"));
      for (const file of [path, `${path}-wal`]) assert.equal(permissions(file), "660", file);
    }
  } finally {
    Deno.umask(umask);
  }
});

Deno.test("SqliteBroker.open() creates files with fileMode also with an umask that takes it away", async () => {
  await using folder = await makeFolder();
  const umask = Deno.umask(0o077);
  try {
    const path = `${folder.path}/queue.sqlite`;
    await using broker = openSqlite(path, { fileMode: 0o660 });
    await broker.push("q", bytes("shared"));
    for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal(permissions(file), "660", file);
  } finally {
    Deno.umask(umask);
  }
});

Deno.test("SqliteBroker.open() creates what a link leads to with fileMode", async () => {
  await using folder = await makeFolder();
  await Deno.mkdir(`${folder.path}/data`);
  await Deno.mkdir(`${folder.path}/deep/links`, { recursive: true });
  await Deno.symlink("deep/links", `${folder.path}/alias`);
  await Deno.symlink("../../data/second", `${folder.path}/deep/links/first`);
  await Deno.symlink(`${folder.path}/data/queue.sqlite`, `${folder.path}/data/second`);
  await using broker = openSqlite(`${folder.path}/alias/first`);
  await broker.push("q", bytes("secret"));
  const path = `${folder.path}/data/queue.sqlite`;
  for (const file of [path, `${path}-wal`, `${path}-shm`]) assert.equal(permissions(file), "600", file);
});

Deno.test("SqliteBroker.open() says what is wrong with a link to itself", async () => {
  await using folder = await makeFolder();
  await Deno.symlink("loop", `${folder.path}/loop`);
  await assert.rejects(async () => await openSqlite(`${folder.path}/loop`).close(), {
    code: "QUEUE_UNAVAILABLE",
  });
});

Deno.test("The type of the embedded queue opens one by its settings", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await using broker = SQLITE.open(
    { clock: systemClock, owner: "test" },
    { ...DEFAULT_SQLITE_OPTIONS, path },
    raw,
  );
  await broker.push("q", bytes("a job"));
  assert.equal((await Deno.stat(path)).isFile, true);
});

Deno.test("SqliteBroker.close() of the last user leaves the database file alone behind", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  {
    await using broker = openSqlite(path);
    await broker.push("q", bytes("a job"));
  }
  assert.deepEqual([...Deno.readDirSync(folder.path)].map(({ name }) => name), ["queue.sqlite"]);
});

for (
  const [what, prepare, expected] of [
    [
      "a missing folder",
      (folder: string) => `${folder}/missing/queue.sqlite`,
      /missing\/queue\.sqlite": its folder does not exist; create it .*\(no such file or directory/,
    ],
    [
      "a folder",
      (folder: string) => folder,
      /it cannot be opened; it must be a file, and this user.*\(unable to open database file/,
    ],
    [
      "a file in a file",
      (folder: string) => {
        Deno.writeTextFileSync(`${folder}/file`, "");
        return `${folder}/file/queue.sqlite`;
      },
      /its folder is not a folder; choose another path \(not a directory/,
    ],
    [
      "a file that is no database",
      (folder: string) => {
        Deno.writeTextFileSync(`${folder}/notes.txt`, "Dear diary, ".repeat(500));
        return `${folder}/notes.txt`;
      },
      /notes\.txt": the file is not a SQLite database; choose another path \(file is not a database\)$/,
    ],
    [
      "a file that is too short to be a database",
      (folder: string) => {
        Deno.writeTextFileSync(`${folder}/notes.txt`, "Dear diary");
        return `${folder}/notes.txt`;
      },
      /the file is not a SQLite database; choose another path/,
    ],
  ] as const
) {
  Deno.test(`SqliteBroker.open() of ${what} fails with QUEUE_UNAVAILABLE and says what to do`, async () => {
    await using folder = await makeFolder();
    const path = prepare(folder.path);
    const isFile = Deno.statSync(folder.path) && path.endsWith("notes.txt");
    const before = isFile ? Deno.readFileSync(path) : undefined;
    assert.throws(() => openSqlite(path), {
      name: "QueueError",
      code: "QUEUE_UNAVAILABLE",
      message: expected,
    });
    if (isFile) assert.deepEqual(Deno.readFileSync(path), before);
  });
}

Deno.test("SqliteBroker says that the file is damaged when its pages are, and keeps it as it is", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  {
    await using broker = openSqlite(path);
    for (let i = 0; i < 50; i++) await broker.push("q", new Uint8Array(2_000));
  }
  // All pages but the first, which says that it is a queue.
  const file = Deno.readFileSync(path);
  file.fill(0x5a, 4096);
  Deno.writeFileSync(path, file);
  await assert.rejects(
    async () => {
      await using broker = openSqlite(path);
      await take(broker);
    },
    {
      code: "QUEUE_UNAVAILABLE",
      message:
        /the file is damaged; stop all its workers, keep a copy.*\(database disk image is malformed\)$/,
    },
  );
  assert.deepEqual(Deno.readFileSync(path), file);
});

Deno.test("SqliteBroker.open() of a file that this user may not write says so", async () => {
  await using folder = await makeFolder();
  const path = `${folder.path}/queue.sqlite`;
  await openSqlite(path).close();
  await Deno.chmod(path, 0o400);
  await using process = OtherProcess.command("open", [path], WITHOUT_ROOT_POWERS);
  assert.equal(await process.line(), "ready");
  await process.tell("go");
  assert.match(
    await process.line(),
    /^QueueError: Cannot use the queue ".*queue\.sqlite": it is read-only for this user.*\(attempt to write a readonly/,
  );
});

for (
  const [what, hasFile] of [["makes no file there", false], ["cannot log beside the file", true]] as const
) {
  Deno.test(`SqliteBroker.open() in a folder that this user may not write ${what} and says so`, async () => {
    await using folder = await makeFolder();
    const path = `${folder.path}/queue.sqlite`;
    if (hasFile) await openSqlite(path).close();
    await Deno.chmod(folder.path, 0o500);
    await using process = OtherProcess.command("open", [path], WITHOUT_ROOT_POWERS);
    assert.equal(await process.line(), "ready");
    await process.tell("go");
    const said = await process.line();
    await Deno.chmod(folder.path, 0o700);
    assert.match(said, /^QueueError: Cannot use the queue ".*queue\.sqlite": .*folder/);
  });
}

/** Runs the `fill` command and checks that nothing was lost. */
async function assertSurvivesFull(process: OtherProcess, message: RegExp): Promise<void> {
  const told = JSON.parse(await process.line());
  assert.match(told.message, message);
  assert.equal(told.code, "QUEUE_UNAVAILABLE");
  assert.equal(told.again, "QUEUE_UNAVAILABLE");
  assert.ok(told.pushed.length > 10, `only ${told.pushed.length} fitted`);
  assert.equal(told.depthWhenFull.ready + told.depthWhenFull.reserved, told.pushed.length);
  assert.deepEqual(told.received.toSorted(), told.pushed.toSorted());
  assert.deepEqual(told.after, ["after"]);
}

Deno.test("SqliteBroker.push() rejects at the file size limit; the jobs are intact, and go on when it is lifted", async () => {
  await using folder = await makeFolder();
  // SIGXFSZ, which would end the process, is ignored: the write fails instead.
  const limited = ["bash", "-c", `trap '' XFSZ; ulimit -S -f 500; exec "$@"`, "bash"];
  await using process = OtherProcess.command(
    "fill",
    [`${folder.path}/queue.sqlite`, "prlimit --pid $PID --fsize=unlimited:"],
    limited,
  );
  await assertSurvivesFull(
    process,
    /queue\.sqlite": the disk or its file system failed, or a file size limit.*\(disk I\/O error\)$/,
  );
});

const UNSHARE = await mountNamespace();

Deno.test(
  UNSHARE === undefined
    ? "SqliteBroker on a full disk: only simulated here, for this machine permits no mount namespaces"
    : "SqliteBroker.push() rejects when the disk is full; the jobs are intact, and go on when there is room",
  async () => {
    await using folder = await makeFolder();
    if (UNSHARE === undefined) return await assertWriterSurvivesFull(`${folder.path}/queue.sqlite`);
    const mount = `mount -t tmpfs -o size=1m none "$0" && head -c 300000 /dev/zero >"$0/filler" && exec "$@"`;
    await using process = OtherProcess.command(
      "fill",
      [`${folder.path}/queue.sqlite`, `rm ${folder.path}/filler`],
      [...UNSHARE, "sh", "-c", mount, folder.path],
    );
    await assertSurvivesFull(
      process,
      /queue\.sqlite": the disk is full; make room on its file system \(database or disk is full\)$/,
    );
  },
);

Deno.test("SqliteWriter.write() rejects a change that finds no room, and makes others of its transaction and later ones", async () => {
  await using folder = await makeFolder();
  await assertWriterSurvivesFull(`${folder.path}/queue.sqlite`);
});

/** SQLite's own limit of pages ends in the same error as a full disk. */
async function assertWriterSurvivesFull(path: string): Promise<void> {
  using db = new DatabaseSync(path);
  db.exec(
    "PRAGMA journal_mode = WAL; CREATE TABLE jobs (name TEXT, payload BLOB); PRAGMA max_page_count = 20",
  );
  const insert = db.prepare("INSERT INTO jobs VALUES (?, zeroblob(?))");
  const writer = new SqliteWriter({ db, path, clock: systemClock }, { busyTimeoutMs: 1_000 });
  await writer.write(() => insert.run("before", 10));
  const [small, large] = await Promise.allSettled([
    writer.write(() => insert.run("small", 10)),
    writer.write(() => insert.run("large", 1_000_000)),
  ]);
  assert.equal(small.status, "fulfilled");
  assert.ok(large.status === "rejected");
  assert.equal(large.reason.code, "QUEUE_UNAVAILABLE");
  assert.match(
    large.reason.message,
    /the disk is full; make room on its file system \(database or disk is full\)$/,
  );
  await writer.write(() => insert.run("after", 10));
  const names = db.prepare("SELECT name FROM jobs").all().map((row) => row["name"]);
  assert.deepEqual(names, ["before", "small", "after"]);
}
