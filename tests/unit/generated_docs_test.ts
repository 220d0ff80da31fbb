/** The pages that are made of the code are what the code says. */
import assert from "node:assert/strict";
import { BROKER_TYPES } from "../../src/brokers/mod.ts";
import { FINDING_TEXTS } from "../../src/core/finding.ts";
import { generatedPages } from "../../scripts/docs/pages.ts";

const ROOT = new URL("../../", import.meta.url);
const read = (path: string) => Deno.readTextFileSync(new URL(path, ROOT));

for (const { path, text } of generatedPages(read)) {
  Deno.test(`${path} is what the code says`, () => {
    assert.equal(read(path), text, "write it with: deno task docs");
  });
}

/** The ids of findings that the sources of a folder mention. */
function idsIn(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory }) =>
    isDirectory
      ? idsIn(`${folder}/${name}`)
      : [...read(`${folder}/${name}`).matchAll(/\bid(?::| =) "([a-z]+\.[a-z_]+)"/g)].map(([, id]) => id!)
  );
}

Deno.test("Every finding of check is explained, and none that check does not have", () => {
  // Types can have findings in common.
  const explained = [FINDING_TEXTS, ...BROKER_TYPES.map(({ findings }) => findings)].flatMap(Object.keys);
  assert.deepEqual(
    [...new Set(["src/doctor", "src/brokers", "src/cli"].flatMap(idsIn))].sort(),
    [...new Set(explained)].sort(),
  );
});
