import assert from "node:assert/strict";
import fc from "fast-check";
import { HeadAndTail } from "../../../../src/core/text/head_and_tail.ts";

const utf8 = new TextEncoder();

/** What is kept of these pieces. */
function kept(maxBytes: number, pieces: readonly (string | Uint8Array)[]): string {
  const text = new HeadAndTail(maxBytes);
  for (const piece of pieces) text.append(typeof piece === "string" ? utf8.encode(piece) : piece);
  return text.text();
}

Deno.test("HeadAndTail keeps all of a text up to its size, and the beginning and the end of a longer one", {
  permissions: "none",
}, () => {
  assert.equal(kept(10, []), "");
  assert.equal(kept(10, ["0123456789"]), "0123456789");
  assert.equal(kept(10, ["0123", "456", "", "789"]), "0123456789");
  assert.equal(kept(10, ["0123456789A"]), "01234\n… 1 bytes left out …\n6789A");
  assert.equal(kept(3, ["0123456789"]), "01\n… 7 bytes left out …\n9");
  assert.equal(kept(1, ["0123456789"]), "0\n… 9 bytes left out …");
  assert.equal(kept(0, ["0123456789"]), "");
});

Deno.test("HeadAndTail keeps the same, however a text is cut into pieces", { permissions: "none" }, () => {
  const pieces = fc.array(fc.uint8Array({ min: 33, max: 126, maxLength: 20 }), { maxLength: 20 });
  fc.assert(fc.property(pieces, fc.nat(100), (pieces, maxBytes) => {
    const whole = pieces.map((piece) => new TextDecoder().decode(piece)).join("");
    const [head, tail] = [Math.ceil(maxBytes / 2), Math.floor(maxBytes / 2)];
    const leftOut = `\n… ${whole.length - maxBytes} bytes left out …\n`;
    const cut = `${whole.slice(0, head)}${leftOut}${whole.slice(whole.length - tail)}`.trimEnd();
    assert.equal(kept(maxBytes, pieces), whole.length <= maxBytes ? whole : maxBytes === 0 ? "" : cut);
  }));
});

Deno.test("HeadAndTail cuts no character in two, and counts what it leaves out for that", {
  permissions: "none",
}, () => {
  assert.equal(kept(6, ["aéééb"]), "aé\n… 2 bytes left out …\néb");
  assert.equal(kept(4, ["aéééb"]), "a\n… 6 bytes left out …\nb");
  assert.equal(kept(6, ["a€€€b"]), "a\n… 9 bytes left out …\nb");
  assert.equal(kept(6, ["😀😀😀"]), "… 12 bytes left out …");
  // What is no UTF-8 shows as that.
  assert.equal(kept(4, [new Uint8Array(9).fill(0xff)]), "\ufffd\ufffd\n… 5 bytes left out …\n\ufffd\ufffd");
});

Deno.test("HeadAndTail keeps bytes of its own, begins anew, and drops the last line ends", {
  permissions: "none",
}, () => {
  const text = new HeadAndTail(8);
  const buffer = utf8.encode("0123456789");
  text.append(buffer);
  buffer.fill(0);
  assert.deepEqual([text.text(), text.isCut], ["0123\n… 2 bytes left out …\n6789", true]);
  text.clear();
  assert.deepEqual([text.text(), text.isCut], ["", false]);
  text.append(utf8.encode("abc\r\n\n"));
  assert.deepEqual([text.text(), text.isCut], ["abc", false]);
});
