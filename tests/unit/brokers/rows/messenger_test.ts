import assert from "node:assert/strict";
import { splitHeaders, withFacts } from "../../../../src/brokers/rows/messenger/facts.ts";
import { deadNameOf, isDeadName, QueueNames } from "../../../../src/brokers/rows/messenger/queue_names.ts";
import { Zone } from "../../../../src/brokers/rows/messenger/zone.ts";

Deno.test("The worker's header comes and goes, and leaves the column byte for byte as it was", () => {
  const columns = [
    "[]",
    "{}",
    "{ }",
    ' {"type":"App\\\\Mail"} ',
    '{"type":"App\\\\Mail","X-Message-Stamp-A":"[{\\"a\\":\\"}\\"}]"}',
    '{"a": "\\u00e4", "a":"twice"}\n',
  ];
  for (const column of columns) {
    const facts = { attempts: 2, error: '{"message":"a \\"quoted\\" } text"}' };
    const stored = withFacts(column, facts);
    assert.equal(typeof JSON.parse(stored)["X-Fervo-Worker"], "string");
    assert.deepEqual(splitHeaders(stored), { headers: column, facts });
    const again = withFacts(splitHeaders(stored).headers, { lost: 1 });
    assert.deepEqual(splitHeaders(again), { headers: column, facts: { lost: 1 } });
  }
});

Deno.test("A column without facts, and one that is no object, stay as they are", () => {
  for (const column of ["[]", '{"type":"a"}']) {
    assert.equal(withFacts(column, {}), column);
    assert.deepEqual(splitHeaders(column), { headers: column, facts: {} });
  }
  for (const column of ["", "nonsense", "null", "7", '["a"]', '{"a":']) {
    assert.equal(withFacts(column, { lost: 1 }), column);
    assert.deepEqual(splitHeaders(column), { headers: column, facts: {} });
  }
});

Deno.test("The queue_name of dead letters fits the column, and two long names have two", () => {
  assert.equal(deadNameOf("default"), "default__fervo_dead");
  const names = ["ä", "😀"].flatMap((letter) => ["1", "2"].map((end) => letter.repeat(189) + end));
  const dead = names.map(deadNameOf);
  for (const name of dead) {
    assert.ok([...name].length <= 190, name);
    assert.ok(isDeadName(name), name);
  }
  assert.equal(new Set(dead).size, names.length);
});

Deno.test("A transport has its queue_name, and a queue_name its transport", () => {
  const names = new QueueNames(new Map([["async", "default"], ["other", "default"]]));
  assert.deepEqual(["async", "high"].map((name) => names.of(name)), ["default", "high"]);
  assert.equal(names.transportOf("default"), "async");
  assert.equal(names.transportOf("high"), "high");
  assert.equal(names.transportOf("async"), undefined, "a queue that the configuration cannot name");
});

Deno.test("A zone gives the times of a table, across both changes of the clocks", () => {
  const utc = new Zone("UTC");
  const berlin = new Zone("Europe/Berlin");
  const summer = Date.UTC(2026, 2, 29, 1);
  const winter = Date.UTC(2026, 9, 25, 1);
  assert.equal(utc.text(summer), "2026-03-29 01:00:00");
  assert.equal(berlin.text(summer - 1), "2026-03-29 01:59:59");
  assert.equal(berlin.text(summer), "2026-03-29 03:00:00");
  assert.equal(berlin.text(winter - 1), "2026-10-25 02:59:59");
  assert.equal(berlin.text(winter), "2026-10-25 02:00:00");
  for (const atMs of [summer - 1_000, summer, winter - 7_200_000, winter, Date.UTC(1970, 0, 2)]) {
    for (const zone of [utc, berlin, new Zone("America/St_Johns"), new Zone("Asia/Kathmandu")]) {
      assert.equal(zone.instantMs(zone.text(atMs)), atMs, `${zone.name} ${zone.text(atMs)}`);
    }
  }
  for (const text of ["", "yesterday", null, 7]) assert.equal(utc.instantMs(text), undefined);
  assert.throws(() => new Zone("Europe/Nowhere"), RangeError);
});
