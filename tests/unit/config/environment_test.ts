import assert from "node:assert/strict";
import { expandEnvironment } from "../../../src/config/environment.ts";

const environment: Record<string, string> = { HOST: "fpm", PORT: "9000", EMPTY: "", NESTED: "${HOST}" };
const env = (name: string) => environment[name];

const texts: [written: string, expanded: string][] = [
  ["no variable", "no variable"],
  ["${HOST}:${PORT}", "fpm:9000"],
  ["a${EMPTY}b", "ab"],
  ["$HOST", "$HOST"],
  ["$${HOST}", "${HOST}"],
  ["$${HOST", "${HOST"],
  ["$$${HOST}", "$${HOST}"],
  ["${NESTED}", "${HOST}"],
];
for (const [written, expanded] of texts) {
  Deno.test(`expandEnvironment() reads "${written}" as "${expanded}"`, { permissions: "none" }, () => {
    assert.deepEqual(expandEnvironment([written], env), { data: [expanded], problems: [] });
  });
}

Deno.test(
  "expandEnvironment() reaches every text and leaves keys and other values",
  { permissions: "none" },
  () => {
    const date = new Date(0);
    const { data } = expandEnvironment({ "${HOST}": [{ a: "${HOST}" }, 1, true, date] }, env);
    assert.deepEqual(structuredClone(data), { "${HOST}": [{ a: "fpm" }, 1, true, date] });
  },
);

Deno.test(
  "expandEnvironment() reports each variable that is not set, with its path",
  { permissions: "none" },
  () => {
    const { data, problems } = expandEnvironment({ a: ["x", "${HOST}${NONE}"] }, env);
    assert.deepEqual(structuredClone(data), { a: ["x", "fpm${NONE}"] });
    assert.deepEqual(problems, [{
      path: ["a", 1],
      text: 'the environment variable "NONE" is not set: set it, or write $${NONE} for the literal text',
    }]);
  },
);

for (const wrong of ["${HO ST}", "${HOST:-fpm}", "${}", "${HOST", "${1A}"]) {
  Deno.test(`expandEnvironment() reports "${wrong}"`, { permissions: "none" }, () => {
    const { problems } = expandEnvironment({ a: wrong }, env);
    assert.deepEqual(problems.map((problem) => problem.text), [
      `"${wrong}" is not the name of a variable: write \${NAME}, or $\${ for the two characters \${`,
    ]);
  });
}
