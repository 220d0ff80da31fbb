/** scripts/compile --release, on a copy of the sources: a release is of a commit, and this one has none of ours in it. */
import assert from "node:assert/strict";
import deno from "../../deno.json" with { type: "json" };
import { DenoServer } from "../support/deno_server.ts";
import { releaseCheckout } from "../support/release_checkout.ts";

/** No server listens there. */
const NOBODY = "http://127.0.0.1:1";

function namesIn(folder: string): string[] {
  return [...Deno.readDirSync(folder)].map(({ name }) => name).sort();
}

Deno.test("scripts/compile --release makes a binary for each target onto Deno's runtime, with the commit inside, and is reproducible", async () => {
  await using server = await DenoServer.start();
  await using t = await releaseCheckout(server.pins);
  const first = await t.release(server.url);
  assert.equal(first.code, 0, first.said);
  const release = `${t.folder}/dist/release`;
  const binaries = ["linux-arm64", "linux-x64"].map((target) => `fervo-worker-${deno.version}-${target}`);
  assert.deepEqual(namesIn(release), ["SHA256SUMS", ...binaries]);
  const sums = await Deno.readTextFile(`${release}/SHA256SUMS`);
  assert.deepEqual([...sums.matchAll(/^[0-9a-f]{64} {2}(.*)$/gm)].map((match) => match[1]), binaries);
  const told = await t.run([`${release}/${binaries[1]}`, "--version", "--json"]);
  assert.deepEqual(JSON.parse(told.said), {
    version: deno.version,
    commit: await t.git("rev-parse", "HEAD"),
    target: "x86_64-unknown-linux-gnu",
    deno: DenoServer.VERSION,
    runtime: "official",
  });

  // The archives are there, so the server is not asked again.
  const asked = server.requests.length;
  const second = await t.release(server.url);
  assert.equal(second.code, 0, second.said);
  assert.equal(await Deno.readTextFile(`${release}/SHA256SUMS`), sums);
  assert.equal(server.requests.length, asked);
});

Deno.test("scripts/compile --release fails where Deno's server cannot be reached, and takes no runtime from elsewhere", async () => {
  await using server = await DenoServer.start();
  await using t = await releaseCheckout(server.pins);
  const { code, said } = await t.release(NOBODY);
  assert.equal(code, 1, said);
  const archive = `v${DenoServer.VERSION}/deno-x86_64-unknown-linux-gnu.zip`;
  assert.ok(said.includes(`fervo-worker: cannot download ${NOBODY}/release/${archive} (curl: (7) `), said);
  assert.match(
    said,
    /A release is made with Deno's own runtime only: run this where that server can be reached/,
  );
  assert.deepEqual(namesIn(`${t.folder}/dist`), []);
});

Deno.test("scripts/compile --release fails when one archive is missing on the server, and keeps the release before", async () => {
  await using server = await DenoServer.start();
  const archive = `v${DenoServer.VERSION}/denort-aarch64-unknown-linux-gnu.zip`;
  await using t = await releaseCheckout(server.pins);
  await Deno.mkdir(`${t.folder}/dist/release`, { recursive: true });
  await Deno.writeTextFile(`${t.folder}/dist/release/before`, "");
  server.remove(`/release/${archive}`);
  const { code, said } = await t.release(server.url);
  assert.equal(code, 1, said);
  assert.ok(said.includes(`cannot download ${server.url}/release/${archive} (curl: (22) `), said);
  assert.deepEqual(namesIn(`${t.folder}/dist`), ["release"]);
  assert.deepEqual(namesIn(`${t.folder}/dist/release`), ["before"]);
});

Deno.test("scripts/compile --release refuses an archive with another SHA-256 than the pinned one, before it is used", async () => {
  await using server = await DenoServer.start();
  await using t = await releaseCheckout(server.pins);
  const archive = `v${DenoServer.VERSION}/denort-x86_64-unknown-linux-gnu.zip`;
  server.replace(`/release/${archive}`, new TextEncoder().encode("something else"));
  const { code, said } = await t.release(server.url);
  assert.equal(code, 1, said);
  assert.match(
    said,
    new RegExp(
      `/release/${archive} is refused: its SHA-256 is [0-9a-f]{64}, and scripts/deno-release.sha256 pins [0-9a-f]{64}`,
    ),
  );
  assert.deepEqual(namesIn(`${t.folder}/dist`), []);
  const kept = namesIn(`${t.folder}/.tools/deno-release`);
  assert.deepEqual(kept, [`v${DenoServer.VERSION}-deno-x86_64-unknown-linux-gnu.zip`]);
});

Deno.test("scripts/compile --release refuses an archive of which no SHA-256 is pinned, without asking for it", async () => {
  await using server = await DenoServer.start();
  await using t = await releaseCheckout();
  const { code, said } = await t.release(server.url);
  assert.equal(code, 1, said);
  assert.match(
    said,
    /no SHA-256 is pinned for v2\.6\.10\/deno-x86_64-unknown-linux-gnu\.zip in scripts\/deno-release\.sha256/,
  );
  assert.deepEqual(server.requests, []);
});

Deno.test("scripts/compile --pin writes the hashes that Deno's server tells, and refuses an archive that has another one", async () => {
  await using server = await DenoServer.start();
  server.addSums();
  await using t = await releaseCheckout("# What this file is.\n0000  v1.0.0/old.zip\n");
  const pins = `${t.folder}/scripts/deno-release.sha256`;
  const pinned = await t.pin(server.url);
  assert.equal(pinned.code, 0, pinned.said);
  assert.equal(await Deno.readTextFile(pins), `# What this file is.\n${server.pins}`);

  server.replace(
    `/release/v${DenoServer.VERSION}/denort-aarch64-unknown-linux-gnu.zip`,
    new TextEncoder().encode("something else"),
  );
  const before = await Deno.readTextFile(pins);
  const { code, said } = await t.pin(server.url);
  assert.equal(code, 1, said);
  assert.match(
    said,
    /denort-aarch64-unknown-linux-gnu\.zip is not what its \.sha256sum says: [0-9a-f]{64}, not [0-9a-f]{64}/,
  );
  assert.equal(await Deno.readTextFile(pins), before);
});

Deno.test("scripts/compile --release refuses sources that are no commit; other binaries name them, and their runtime", async () => {
  await using server = await DenoServer.start();
  await using t = await releaseCheckout();
  await Deno.writeTextFile(`${t.folder}/main.ts`, "\n", { append: true });
  const { code, said } = await t.release(NOBODY);
  assert.equal(code, 1);
  assert.match(said, /a release is of a commit: commit or discard your changes first/);
  const compiled = await t.run(["scripts/compile"]);
  assert.equal(compiled.code, 0, compiled.said);
  const told = JSON.parse((await t.run(["dist/fervo-worker", "--version", "--json"])).said);
  assert.equal(told.commit, `${await t.git("rev-parse", "HEAD")}-dirty`);
  assert.match(told.runtime, /^(?:downloaded|npm)$/);

  const { runtime } = server;
  const again = await t.run(["scripts/compile", "--force"], { DENORT_BIN: runtime });
  assert.equal(again.code, 0, again.said);
  assert.ok(again.said.includes(`the runtime that DENORT_BIN names, ${runtime}`), again.said);
});
