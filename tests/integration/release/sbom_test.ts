import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import { lockedPackages, ROOT } from "../../../scripts/release/bundled_packages.ts";
import { directPackages, sbom, validate } from "../../../scripts/release/sbom.ts";
import { partsIn } from "../../../src/cli/commands/licenses/notices.ts";

const BINARY = new TextEncoder().encode("\0/registry/src/index/ash-0.38.0+1.3.281/src/lib.rs\0");
const TOLD = { version: "1.2.3", commit: "abc", deno: "2.9.6", runtime: "official" };

interface Component {
  readonly name: string;
  readonly version: string;
  readonly purl: string;
  readonly "bom-ref": string;
  readonly hashes?: readonly { alg: string; content: string }[];
  readonly licenses?: readonly { license?: { id: string }; expression?: string }[];
}

async function made(change: Partial<Parameters<typeof sbom>[0]> = {}): Promise<string> {
  return await sbom({
    binary: BINARY,
    target: "linux-x64",
    told: TOLD,
    notices: await Deno.readTextFile(`${ROOT}THIRD-PARTY-NOTICES`),
    locked: await lockedPackages(),
    direct: directPackages(),
    time: new Date(1_700_000_000_000),
    ...change,
  });
}

Deno.test("sbom() is CycloneDX 1.6, and the same each time; what is not CycloneDX is told", async () => {
  const json = await made();
  assert.equal(await validate(json), null);
  assert.equal(await made(), json);
  assert.equal(JSON.parse(json).specVersion, "1.6");
  assert.notEqual(await validate(json.replace('"type": "application"', '"type": "app"')), null);
  assert.notEqual(await validate(json.replace('"id": "ISC"', '"id": "ISCX"')), null);
});

Deno.test("sbom() has each npm package of the program with the hash of deno.lock, and none that only the tests need", async () => {
  const { components } = JSON.parse(await made()) as { components: Component[] };
  const lock = JSON.parse(await Deno.readTextFile(`${ROOT}deno.lock`)).npm as Record<
    string,
    { integrity: string }
  >;
  const npm = components.filter(({ purl }) => purl?.startsWith("pkg:npm/"));
  const expected = partsIn(await Deno.readTextFile(`${ROOT}THIRD-PARTY-NOTICES`))
    .filter(({ version }) => version !== undefined);
  assert.deepEqual(
    npm.map(({ purl }) => decodeURIComponent(purl.slice("pkg:npm/".length))).sort(),
    expected.map(({ name, version }) => `${name}@${version}`).sort(),
  );
  for (const { purl, hashes, licenses } of npm) {
    const key = decodeURIComponent(purl.slice("pkg:npm/".length));
    const [, found] = Object.entries(lock).find(([each]) => each === key || each.startsWith(`${key}_`))!;
    const sha512 = Buffer.from(found.integrity.replace("sha512-", ""), "base64").toString("hex");
    assert.deepEqual(hashes, [{ alg: "SHA-512", content: sha512 }], key);
    assert.equal(licenses?.length, 1, key);
  }
  assert.ok(!npm.some(({ name }) => name === "ajv" || name === "fast-check"));
});

Deno.test("sbom() has the binary's hash, the runtime, and its crates as what the runtime is made of", async () => {
  const { metadata, components, dependencies } = JSON.parse(await made());
  const sha256 = createHash("sha256").update(BINARY).digest("hex");
  assert.deepEqual(metadata.component.hashes, [{ alg: "SHA-256", content: sha256 }]);
  assert.equal(metadata.timestamp, "2023-11-14T22:13:20.000Z");
  const deno = components.find(({ name }: Component) => name === "deno");
  assert.equal(deno.purl, "pkg:github/denoland/deno@v2.9.6");
  assert.deepEqual(deno.properties, [{ name: "fervo-worker:runtime", value: "official" }]);
  const dependsOn = (ref: string) =>
    dependencies.find((each: { ref: string }) => each.ref === ref)?.dependsOn as string[];
  const crate = "pkg:cargo/ash@0.38.0%2B1.3.281";
  assert.ok(dependsOn(deno["bom-ref"]).includes(crate));
  assert.ok(dependsOn(deno["bom-ref"]).includes("runtime:V8"));
  assert.ok(dependsOn("fervo-worker").includes(deno["bom-ref"]));
  const pino = components.find(({ name }: Component) => name === "pino-pretty")["bom-ref"];
  assert.ok(dependsOn("fervo-worker").includes(pino));
  // Of the two versions that are locked, the one of pino-pretty.
  const sonic = dependsOn(pino).filter((ref) => ref.startsWith("pkg:npm/sonic-boom@"));
  const lock = JSON.parse(await Deno.readTextFile(`${ROOT}deno.lock`)).npm;
  const [, { dependencies: locked }] = Object.entries(lock).find(([key]) =>
    key.startsWith("pino-pretty@")
  ) as [
    string,
    { dependencies: string[] },
  ];
  assert.deepEqual(
    sonic,
    locked.filter((name) => name.startsWith("sonic-boom@")).map((name) => `pkg:npm/${name}`),
  );
  const refs = new Set([metadata.component, ...components].map((each: Component) => each["bom-ref"]));
  for (const { ref, dependsOn = [] } of dependencies) {
    assert.deepEqual([ref, ...dependsOn].filter((each) => !refs.has(each)), []);
  }
});

Deno.test("sbom() refuses a package of the notices that is not in deno.lock", async () => {
  const notices = `${"=".repeat(80)}\nstranger 1.0.0\nLicence: MIT\n`;
  await assert.rejects(made({ notices }), /^Error: stranger@1\.0\.0 is not in deno\.lock$/);
});
