/** From a commit to all files of a release. Slow, as two packages of the whole runtime are made. */
import assert from "node:assert/strict";
import deno from "../../deno.json" with { type: "json" };
import { DenoServer } from "../support/deno_server.ts";
import { releaseCheckout } from "../support/release_checkout.ts";

Deno.test("scripts/compile --release and scripts/package make a binary, a package and an SBOM for each target, of one commit", async () => {
  await using server = await DenoServer.start();
  await using t = await releaseCheckout(server.pins);
  const compiled = await t.release(server.url);
  assert.equal(compiled.code, 0, compiled.said);
  const packaged = await t.run(["scripts/package"], {
    DPKG_DEB_COMPRESSOR_LEVEL: "0",
    FERVO_MAINTAINER: "A Person <person@example.org>",
  });
  assert.equal(packaged.code, 0, packaged.said);

  const { version } = deno;
  const release = `${t.folder}/dist/release`;
  const of = (target: string, architecture: string) => [
    `fervo-worker-${version}-${target}`,
    `fervo-worker-${version}-${target}.cdx.json`,
    `fervo-worker_${version}-1_${architecture}.deb`,
  ];
  assert.deepEqual(
    [...Deno.readDirSync(release)].map(({ name }) => name).sort(),
    [
      ...of("linux-x64", "amd64"),
      ...of("linux-arm64", "arm64"),
      ...["Dockerfile", "SHA256SUMS", "THIRD-PARTY-NOTICES", "fervo-worker.1"],
    ].sort(),
  );
  const checked = await t.run(["sh", "-c", "cd dist/release && sha256sum --check --strict SHA256SUMS"]);
  assert.equal(checked.code, 0, checked.said);
  for (const [target, architecture] of [["linux-x64", "amd64"], ["linux-arm64", "arm64"]] as const) {
    const file = `dist/release/fervo-worker_${version}-1_${architecture}.deb`;
    const { said } = await t.run(["dpkg-deb", "--field", file, "Architecture"]);
    assert.equal(said, `${architecture}\n`);
    const bom = JSON.parse(await Deno.readTextFile(`${release}/fervo-worker-${version}-${target}.cdx.json`));
    const properties = new Map(
      bom.metadata.component.properties.map(({ name, value }: Record<string, string>) => [name, value]),
    );
    assert.equal(properties.get("fervo-worker:target"), target);
    assert.equal(properties.get("fervo-worker:commit"), await t.git("rev-parse", "HEAD"));
    const runtime = bom.components.find(({ name }: { name: string }) => name === "deno");
    assert.equal(runtime.version, DenoServer.VERSION);
    assert.deepEqual(runtime.properties, [{ name: "fervo-worker:runtime", value: "official" }]);
  }
});
