import assert from "node:assert/strict";
import { cutText, textWidth } from "../../../../src/cli/text/text_width.ts";

Deno.test("textWidth() is the columns that a terminal gives to a text", { permissions: "none" }, () => {
  assert.equal(textWidth("plain"), 5);
  assert.equal(textWidth("héé"), 3);
  assert.equal(textWidth("日本語"), 6);
  assert.equal(textWidth("ｆｕｌｌ"), 8);
  assert.equal(textWidth("한국"), 4);
  assert.equal(textWidth("𠀀"), 2);
  assert.equal(textWidth("🚀"), 2);
  assert.equal(textWidth("e\u0301\u200b\u200d"), 1);
});

Deno.test("cutText() cuts what has no room, and marks the cut", { permissions: "none" }, () => {
  assert.equal(cutText("exactly", 7), "exactly");
  assert.equal(cutText("one more", 7), "one mo…");
  assert.equal(cutText("one more", 7, ""), "one mor");
  assert.equal(cutText("日本語", 6), "日本語");
  assert.equal(cutText("日本語", 5), "日本…");
  assert.equal(cutText("日本語", 4), "日…");
  assert.equal(cutText("a🚀🚀", 4), "a🚀…");
  assert.equal(cutText("", 4), "");
});

Deno.test("cutText() cuts marks without end, which take no column", { permissions: "none" }, () => {
  const cut = cutText(`e${"\u0301".repeat(100_000)}`, 10);
  assert.ok(cut.length <= 81 && cut.endsWith("…"), `${cut.length}`);
});
