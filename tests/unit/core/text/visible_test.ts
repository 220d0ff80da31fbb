import assert from "node:assert/strict";
import { visible, visibleBesideC0, visibleLines } from "../../../../src/core/text/visible.ts";

/** What a terminal obeys or nobody sees, by its code. */
const UNSEEN = [
  ...Array.from({ length: 0x20 }, (_, code) => code),
  ...Array.from({ length: 0x21 }, (_, code) => 0x7f + code),
  ...[0x061c, 0x200e, 0x200f, 0x2028, 0x2029, 0x202a, 0x202b, 0x202c, 0x202d, 0x202e],
  ...[0x2066, 0x2067, 0x2068, 0x2069, 0xd800, 0xdfff],
];
const SEEN = "plain ~ \u00a0 é 日本 👩‍💻 \ufeff \\u001b";

Deno.test(
  "visible() escapes each character that a terminal obeys, and no other",
  { permissions: "none" },
  () => {
    for (const code of UNSEEN) {
      const escaped = `\\u${code.toString(16).padStart(4, "0")}`;
      assert.equal(visible(`a${String.fromCharCode(code)}b`), `a${escaped}b`);
    }
    assert.equal(visible(SEEN), SEEN);
    assert.equal(visible("\x1b]0;title\x07\x1b[2J"), "\\u001b]0;title\\u0007\\u001b[2J");
  },
);

Deno.test("visibleLines() leaves lines and tabs, and no carriage return within a line", {
  permissions: "none",
}, () => {
  for (const code of UNSEEN.filter((code) => code !== 0x09 && code !== 0x0a)) {
    const escaped = `\\u${code.toString(16).padStart(4, "0")}`;
    assert.equal(visibleLines(`a${String.fromCharCode(code)}b`), `a${escaped}b`);
  }
  assert.equal(visibleLines("a\n\tb\r\nc\rd\r\r\n"), "a\n\tb\r\nc\\u000dd\\u000d\r\n");
  assert.equal(visibleLines(SEEN), SEEN);
});

Deno.test("visibleLines() of JSON is JSON with the same meaning", { permissions: "none" }, () => {
  const value = Object.fromEntries(
    UNSEEN.map((code) => [`key${String.fromCharCode(code)}`, String.fromCharCode(code)]),
  );
  const text = visibleLines(JSON.stringify(value));
  assert.deepEqual(JSON.parse(text), value);
  assert.equal(visible(text), text);
});

Deno.test("visibleBesideC0() leaves colours", { permissions: "none" }, () => {
  assert.equal(
    visibleBesideC0("\x1b[31mred\u009b31m\u202e\x1b[0m\n"),
    "\x1b[31mred\\u009b31m\\u202e\x1b[0m\n",
  );
});
