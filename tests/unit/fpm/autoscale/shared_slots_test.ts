import assert from "node:assert/strict";
import { SharedSlots } from "../../../../src/fpm/autoscale/shared_slots.ts";

const PURE = { permissions: "none" } as const;

function build(total: number, consumers: number) {
  const shared = new SharedSlots(total);
  const busy = Array.from({ length: consumers }, () => 0);
  const limits = busy.map((_, i) => shared.share(() => busy[i]!));
  return { shared, busy, slots: () => limits.map(({ slots }) => slots) };
}

Deno.test(
  "SharedSlots gives a consumer all, when the others do nothing, and all to the only one",
  PURE,
  () => {
    const { shared, slots } = build(8, 3);
    assert.deepEqual(slots(), [8, 8, 8]);
    const one = build(8, 1);
    one.busy[0] = 8;
    assert.deepEqual([one.slots(), one.shared.busy], [[8], 8]);
    shared.total = 5;
    assert.deepEqual(slots(), [5, 5, 5]);
  },
);

Deno.test("SharedSlots lets a consumer that comes to work get an equal share, job by job", PURE, () => {
  const { busy, slots } = build(8, 2);
  const seen: number[][] = [];
  busy[0] = 8;
  for (let i = 0; i < 8; i++) {
    seen.push(slots());
    // The first one's job that ends next is not followed by another where it has too many; the second begins one.
    if (busy[0] > slots()[0]!) busy[0]--;
    if (busy[1]! < slots()[1]!) busy[1]!++;
  }
  assert.deepEqual(seen[0], [8, 1]);
  assert.deepEqual([busy, slots()], [[4, 4], [4, 4]]);
});

Deno.test("SharedSlots leaves a consumer one slot at least, however few there are", PURE, () => {
  const { busy, slots } = build(2, 3);
  busy.fill(1);
  assert.deepEqual(slots(), [1, 1, 1]);
});
