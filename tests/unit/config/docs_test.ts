/** Each piece of a configuration that the documentation shows is one that the worker takes. */
import assert from "node:assert/strict";
import { parse, stringify, type TomlTable } from "smol-toml";
import { parseConfig } from "../../../src/config/load.ts";
import { docBlocks, placeOf } from "../../support/doc_blocks.ts";

/** What a table needs, where a piece leaves it out. */
const FPM = { address: "/run/php/jobs.sock", script: "/srv/app/fervo.php" };
const BROKER = { driver: "sqlite", path: "queue.sqlite" };
const CONSUMER = { queues: ["default"] };

/**
 * A whole configuration around a piece of one: a broker, a php-fpm pool where no program runs the jobs, and a consumer, each
 * where there is none; and what a pool needs.
 */
function complete(piece: TomlTable): TomlTable {
  const fpm = Object.entries((piece["fpm"] ?? (piece["processes"] ? {} : { default: {} })) as TomlTable)
    .map(([name, pool]) => [name, { ...FPM, ...pool as TomlTable }]);
  return {
    brokers: { default: BROKER },
    consumers: [fpm.length === 0 ? { ...CONSUMER, executor: "process" } : CONSUMER],
    ...piece,
    ...(fpm.length > 0 && { fpm: Object.fromEntries(fpm) }),
  };
}

const blocks = docBlocks().filter(({ language }) => language === "toml");

Deno.test("The documentation shows configurations, and says of each block that it is one", () => {
  assert.ok(blocks.length > 10, `${blocks.length}`);
  for (const block of docBlocks().filter(({ language }) => language === "")) {
    assert.doesNotMatch(
      block.text,
      /^\[\[?(?:brokers|fpm|consumers|processes|schedule|http|log)\b/m,
      placeOf(block),
    );
  }
});

for (const block of blocks) {
  const head = block.text.split("\n").find((line) => /^\[|^\w+ =/.test(line));
  Deno.test(`parseConfig() takes what ${block.file} shows in ${head} (line ${block.line})`, async () => {
    const text = stringify(complete(parse(block.text)));
    const config = await parseConfig(text, placeOf(block), { env: (name) => `the value of ${name}` });
    assert.ok(config.consumers.length > 0);
  });
}
