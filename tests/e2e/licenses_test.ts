import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { fervoWorkerOk, fervoWorkerPath } from "../support/fervo_worker.ts";

Deno.test("licenses prints THIRD-PARTY-NOTICES, then the Rust crates of the binary's own runtime", async () => {
  const printed = await fervoWorkerOk(["licenses"]);
  const notices = await Deno.readTextFile(new URL("../../THIRD-PARTY-NOTICES", import.meta.url));
  assert.ok(printed.startsWith(notices));
  const crates = [...printed.slice(notices.length).matchAll(/^ {2}(\S+) (\d\S*)$/gm)];
  const told = /^This executable names (\d+) Rust crates/m.exec(printed);
  assert.equal(crates.length, Number(told?.[1]));
  // What the runtime certainly has: the engine, the event loop, TLS, SQLite.
  for (const name of ["v8", "tokio", "rustls", "rusqlite"]) {
    assert.ok(crates.some((match) => match[1] === name), name);
  }
});

Deno.test("licenses --json names every part and crate, with the crates that strings finds in the binary", async () => {
  const { parts, crates } = JSON.parse(await fervoWorkerOk(["licenses", "--json"]));
  assert.deepEqual(parts.find(({ name }: { name: string }) => name === "V8"), {
    name: "V8",
    license: "BSD-3-Clause",
  });
  assert.match(parts.find(({ name }: { name: string }) => name === "commander").version, /^\d+\./);
  // Counted by other means.
  const binary = Buffer.from((await Deno.readFile(fervoWorkerPath())).buffer).toString("latin1");
  const paths = binary.matchAll(
    /\/registry\/src\/[^/\0]{1,80}\/([a-zA-Z0-9_-]+-[0-9]+\.[0-9]+\.[0-9]+[^/\0]{0,40})\//g,
  );
  const expected = new Set([...paths].map((match) => match[1]));
  assert.deepEqual(
    crates.map(({ name, version }: Record<string, string>) => `${name}-${version}`).sort(),
    [...expected].sort(),
  );
});
