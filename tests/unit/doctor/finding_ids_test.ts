import assert from "node:assert/strict";
import { BROKER_TYPES } from "../../../src/brokers/mod.ts";
import { FINDING_IDS } from "../../../src/core/finding.ts";

const OPERATIONS = await Deno.readTextFile(new URL("../../../docs/operations.md", import.meta.url));

Deno.test("docs/operations.md explains every finding, and none that there is not", () => {
  const documented = [
    ...OPERATIONS.matchAll(/^\| `([a-z]+\.[a-z_]+)`/gm),
  ]
    .map((match) => match[1]!);
  assert.deepEqual(
    documented.toSorted(),
    [...FINDING_IDS, ...BROKER_TYPES.flatMap(({ findingIds }) => findingIds)].sort(),
  );
});
