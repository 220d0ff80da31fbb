import assert from "node:assert/strict";
import fc from "fast-check";
import { BucketHistogram, labelsOf, MetricsPage } from "../../../../src/telemetry/metrics/prometheus.ts";

const COUNTER = "fervo_leases_lost_total";
const HISTOGRAM = "fervo_job_run_seconds";

Deno.test(
  "labelsOf() writes names and values, and escapes what would end a value",
  { permissions: "none" },
  () => {
    assert.equal(labelsOf({ queue: "mail", state: "ready" }), 'queue="mail",state="ready"');
    assert.equal(labelsOf({ consumer: 'a"b\\c\nd, ünï}' }), 'consumer="a\\"b\\\\c\\nd, ünï}"');
    assert.equal(labelsOf({}), "");
  },
);

Deno.test("MetricsPage writes help, type and a line for each series", { permissions: "none" }, () => {
  const page = new MetricsPage();
  page.add(COUNTER, [['queue="a"', 1], ["", 0.25], ['queue="b"', Infinity]]);
  assert.equal(
    page.toString(),
    `# HELP ${COUNTER} Jobs of this worker that another worker has taken.\n# TYPE ${COUNTER} counter\n` +
      `${COUNTER}{queue="a"} 1\n${COUNTER} 0.25\n${COUNTER}{queue="b"} +Inf\n`,
  );
});

Deno.test("MetricsPage leaves out a metric without series", { permissions: "none" }, () => {
  const page = new MetricsPage();
  page.add(COUNTER, []);
  page.add("fervo_slots", []);
  page.addHistogram(HISTOGRAM, []);
  assert.equal(page.toString(), "");
});

Deno.test("BucketHistogram counts a value in all buckets from the first that it fits", {
  permissions: "none",
}, () => {
  const histogram = new BucketHistogram([0.1, 1]);
  for (const value of [0, 0.1, 0.5, 1, 7]) histogram.observe(value);
  const page = new MetricsPage();
  page.addHistogram(HISTOGRAM, [['queue="a"', histogram]]);
  assert.deepEqual(page.toString().split("\n").slice(2), [
    `${HISTOGRAM}_bucket{queue="a",le="0.1"} 2`,
    `${HISTOGRAM}_bucket{queue="a",le="1"} 4`,
    `${HISTOGRAM}_bucket{queue="a",le="+Inf"} 5`,
    `${HISTOGRAM}_sum{queue="a"} 8.6`,
    `${HISTOGRAM}_count{queue="a"} 5`,
    "",
  ]);
});

Deno.test("BucketHistogram counts as many values below a bound as there are", { permissions: "none" }, () => {
  const bounds = [0.001, 0.5, 2, 100];
  fc.assert(fc.property(fc.array(fc.double({ min: 0, max: 1_000, noNaN: true })), (values) => {
    const histogram = new BucketHistogram(bounds);
    for (const value of values) histogram.observe(value);
    const page = new MetricsPage();
    histogram.write(page, "x", "");
    const counts = [...page.toString().matchAll(/_bucket\{le=".*"\} (\d+)/g)].map((match) =>
      Number(match[1])
    );
    assert.deepEqual(
      counts,
      [...bounds, Infinity].map((bound) => values.filter((value) => value <= bound).length),
    );
  }));
});
