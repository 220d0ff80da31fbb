import assert from "node:assert/strict";
import { partsIn } from "../../../src/cli/commands/licenses/notices.ts";
import { bundledPackages, lockedPackages, ROOT } from "../../../scripts/release/bundled_packages.ts";
import { notices } from "../../../scripts/release/notices.ts";

Deno.test("THIRD-PARTY-NOTICES is what `deno task notices` writes", async () => {
  const written = await Deno.readTextFile(`${ROOT}THIRD-PARTY-NOTICES`);
  assert.ok(written === await notices(), "THIRD-PARTY-NOTICES is old: write it with: deno task notices");
});

Deno.test("THIRD-PARTY-NOTICES has every package that the bundle has code of, in the version of deno.lock, and no other one", async () => {
  const parts = partsIn(await Deno.readTextFile(`${ROOT}THIRD-PARTY-NOTICES`));
  const packages = parts.flatMap(({ name, version }) => version === undefined ? [] : [`${name}@${version}`]);
  const bundled = (await bundledPackages()).map(({ name, version }) => `${name}@${version}`);
  assert.deepEqual(packages, bundled);
  const locked = await lockedPackages();
  assert.deepEqual(packages.filter((key) => !locked.has(key)), []);
  // What every start of the program needs, and what only the tests need.
  for (const name of ["commander", "pino", "zod", "smol-toml"]) {
    assert.ok(parts.some((part) => part.name === name), name);
  }
  assert.ok(!parts.some(({ name }) => name === "fast-check"));
});

Deno.test("Every notice has a licence and its text, and nothing that a terminal would obey", async () => {
  const text = await Deno.readTextFile(`${ROOT}THIRD-PARTY-NOTICES`);
  // deno-lint-ignore no-control-regex
  assert.doesNotMatch(text, /[\x00-\x09\x0b-\x1f\x7f-\x9f]/);
  const sections = text.split(`${"=".repeat(80)}\n`).slice(1);
  assert.equal(sections.length, partsIn(text).length);
  for (const section of sections) {
    const [, body] = /^.+\nLicence: (?!undefined).+\nOrigin: .+\n(?:Author: .+\n)?\n([^]+)$/.exec(section) ??
      [];
    assert.ok(body !== undefined, section);
    assert.match(body, /licen[cs]e|copyright|permission/i, section);
  }
});
