import assert from "node:assert/strict";
import { type SqliteFacts, sqliteFindings } from "../../../../src/brokers/sqlite/check.ts";

function found(facts: Partial<SqliteFacts>): string[] {
  return sqliteFindings({ path: "/q.sqlite", journalMode: "wal", fileSystem: 0xef53, ...facts })
    .map(({ id, severity }) => `${severity} ${id}`);
}

Deno.test("sqliteFindings() finds a file in WAL mode on a local disk in order", () => {
  assert.deepEqual(found({}), ["ok sqlite.journal", "ok sqlite.file_system"]);
});

Deno.test("sqliteFindings() refuses another journal mode", () => {
  assert.equal(found({ journalMode: "delete" })[0], "error sqlite.journal");
});

const FILE_SYSTEMS: readonly [name: string, magic: number, severity: string][] = [
  ["nfs", 0x6969, "error"],
  // statfs(2) may give it as a negative number.
  ["cifs", 0xff53_4d42 | 0, "error"],
  ["9p", 0x0102_1997, "error"],
  ["tmpfs", 0x0102_1994, "warning"],
  ["overlayfs", 0x794c_7630, "notice"],
  ["fuse", 0x6573_5546, "notice"],
  ["btrfs", 0x9123_683e, "ok"],
];
for (const [name, fileSystem, severity] of FILE_SYSTEMS) {
  Deno.test(`sqliteFindings() takes a file on ${name} for: ${severity}`, () => {
    assert.equal(found({ fileSystem })[1], `${severity} sqlite.file_system`);
  });
}

for (
  const [mib, severity, what] of [
    [100, "ok", "its disk has 100 MiB free"],
    [99.9, "warning", 'the disk of "/q.sqlite" has 99 MiB free'],
    [1, "warning", 'the disk of "/q.sqlite" has 1 MiB free'],
    [0.9, "error", 'the disk of "/q.sqlite" is full'],
    [0, "error", 'the disk of "/q.sqlite" is full'],
  ] as const
) {
  Deno.test(`sqliteFindings() takes a disk with ${mib} MiB free for: ${severity}`, () => {
    const facts = { path: "/q.sqlite", journalMode: "wal", fileSystem: 0xef53, freeBytes: mib * 1_048_576 };
    const found = sqliteFindings(facts).find(({ id }) => id === "sqlite.disk_space");
    assert.deepEqual([found?.severity, found?.what], [severity, what]);
  });
}

Deno.test("sqliteFindings() says that a file system is not known, and why", () => {
  const [, finding] = sqliteFindings({ path: "/q", journalMode: "wal", fileSystem: "not permitted" });
  assert.equal(finding!.severity, "notice");
  assert.equal(finding!.what, 'the file system of "/q" is unknown: not permitted');
});

Deno.test("sqliteFindings() tells root whose the queue is, where it is somebody else's", () => {
  const notices = (file: number, folder: number, asking: number) =>
    found({ owners: { file, folder, asking } }).filter((text) => text.endsWith("sqlite.owner"));
  assert.deepEqual(notices(0, 0, 0), []);
  assert.deepEqual(notices(33, 33, 33), []);
  assert.deepEqual(notices(0, 33, 0), ["notice sqlite.owner"]);
  assert.deepEqual(notices(33, 33, 0), ["notice sqlite.owner"]);
});
