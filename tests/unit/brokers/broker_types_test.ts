/** What holds for every kind of broker, without opening one. */
import assert from "node:assert/strict";
import { BROKER_TYPES } from "../../../src/brokers/mod.ts";

Deno.test("BROKER_TYPES has each format of a driver once, and lists every format under its own name", () => {
  const all = BROKER_TYPES.flatMap(({ driver, formats }) =>
    Object.keys(formats).map((name) => `${driver} ${name}`)
  );
  assert.deepEqual(all, [...new Set(all)]);
  for (const { formats, defaultFormat } of BROKER_TYPES) {
    assert.ok(Object.hasOwn(formats, defaultFormat));
    for (const [name, format] of Object.entries(formats)) assert.equal(format.name, name);
  }
});

Deno.test("docs/brokers/ has a page for each kind of broker, and its README links to each", () => {
  const folder = new URL("../../../docs/brokers/", import.meta.url);
  const files = [...Deno.readDirSync(folder)].map(({ name }) => name);
  const pages = [...new Set(BROKER_TYPES.map(({ page }) => `${page}.md`))];
  assert.deepEqual(files.filter((name) => name !== "README.md").sort(), pages.toSorted());
  const readme = Deno.readTextFileSync(new URL("README.md", folder));
  for (const { driver, page } of BROKER_TYPES) {
    const row = readme.split("\n").find((line) => line.startsWith("| [") && line.includes(`](${page}.md)`));
    assert.ok(row?.slice(0, row.indexOf("]")).includes(`\`${driver}\``), `a row of ${driver} on ${page}`);
  }
});

Deno.test("README.md has a row for each kind of broker", () => {
  const readme = Deno.readTextFileSync(new URL("../../../README.md", import.meta.url));
  const table = /^\| `driver` [^]*?\n\n/m.exec(readme)![0];
  const rows = [...table.matchAll(/^\| `(?!driver)([^`]+)`/gm)].map(([, driver]) => driver);
  // A row of types that share a page begins with the first one.
  const byPage = Map.groupBy(BROKER_TYPES, ({ page }) => page);
  assert.deepEqual(rows, [...byPage.values()].map(([first]) => first!.driver));
});

Deno.test("The default of each option is one of its values", () => {
  for (const { driver, options } of BROKER_TYPES) {
    for (const [key, option] of Object.entries(options)) {
      const isValue = () => {
        switch (option.kind) {
          case "whole number":
            return Number.isInteger(option.default) && option.default >= option.min &&
              option.default <= option.max;
          case "text":
            return option.default === undefined || option.isValid(option.default);
          case "choice":
            return option.values.includes(option.default);
          case "texts":
          case "texts by name":
          case "flag":
            return true;
        }
      };
      assert.ok(isValue(), `${driver}: ${key}`);
    }
  }
});
