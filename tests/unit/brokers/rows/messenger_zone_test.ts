import assert from "node:assert/strict";
import { Zone } from "../../../../src/brokers/rows/messenger/zone.ts";

const HOUR_MS = 3_600_000;

Deno.test("A zone without summer time is ahead of UTC by the same all year", () => {
  for (const [name, hours] of [["UTC", 0], ["Asia/Tokyo", 9], ["+05:30", 5.5]] as const) {
    const zone = new Zone(name);
    for (const at of ["2026-01-15T12:00:00Z", "2026-07-15T12:00:00Z"]) {
      assert.equal(zone.offsetMs(Date.parse(at)), hours * HOUR_MS, `${name} ${at}`);
    }
  }
});

Deno.test("An instant and its time in the table are the same on both sides of a change to summer time", () => {
  const zone = new Zone("Europe/Berlin");
  const times = {
    "2026-03-29T00:59:59Z": "2026-03-29 01:59:59",
    "2026-03-29T01:00:00Z": "2026-03-29 03:00:00",
    "2026-10-24T23:59:59Z": "2026-10-25 01:59:59",
    "2026-10-25T01:00:00Z": "2026-10-25 02:00:00",
    "2026-10-25T02:00:00Z": "2026-10-25 03:00:00",
  };
  for (const [instant, text] of Object.entries(times)) {
    assert.equal(zone.text(Date.parse(instant)), text);
    assert.equal(zone.instantMs(text), Date.parse(instant), text);
  }
});

Deno.test("In the hour that a zone has twice, a time of the table means the second pass", () => {
  for (
    const [name, text, first, second] of [
      ["Europe/Berlin", "2026-10-25 02:30:00", "2026-10-25T00:30:00Z", "2026-10-25T01:30:00Z"],
      ["America/New_York", "2026-11-01 01:30:00", "2026-11-01T05:30:00Z", "2026-11-01T06:30:00Z"],
    ] as const
  ) {
    const zone = new Zone(name);
    assert.equal(zone.text(Date.parse(first)), text);
    assert.equal(zone.text(Date.parse(second)), text);
    assert.equal(zone.instantMs(text), Date.parse(second), name);
  }
});

Deno.test("A time that a zone leaves out is the one that was meant before the change", () => {
  for (
    const [name, text, instant] of [
      ["Europe/Berlin", "2026-03-29 02:30:00", "2026-03-29T01:30:00Z"],
      ["America/New_York", "2026-03-08 02:30:00", "2026-03-08T07:30:00Z"],
    ] as const
  ) {
    assert.equal(new Zone(name).instantMs(text), Date.parse(instant), name);
  }
});

Deno.test("Summer times of half an hour, and zones far from UTC, keep instants", () => {
  for (const name of ["Australia/Lord_Howe", "America/St_Johns", "Pacific/Apia", "Asia/Kathmandu"]) {
    const zone = new Zone(name);
    // Each hour of the days around the changes of the year.
    for (
      let atMs = Date.parse("2026-01-01T00:00:00Z");
      atMs < Date.parse("2027-01-01T00:00:00Z");
      atMs += HOUR_MS
    ) {
      const back = zone.instantMs(zone.text(atMs))!;
      assert.ok(back === atMs || back - atMs === HOUR_MS || back - atMs === HOUR_MS / 2, `${name} ${atMs}`);
    }
  }
});

Deno.test("What is no time is no instant, and an unknown zone is refused", () => {
  const zone = new Zone("Europe/Berlin");
  for (const value of [null, undefined, 7, "", "soon"]) assert.equal(zone.instantMs(value), undefined);
  assert.throws(() => new Zone("Europe/Nowhere"), RangeError);
});
