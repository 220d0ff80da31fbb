import assert from "node:assert/strict";
import { ProcessMetrics } from "../../../../src/telemetry/metrics/process_metrics.ts";
import { MetricsPage } from "../../../../src/telemetry/metrics/prometheus.ts";
import { FakeClock } from "../../../support/fake_clock.ts";

function pageOf(metrics: ProcessMetrics): string {
  const page = new MetricsPage();
  metrics.write(page);
  return page.toString();
}

Deno.test(
  "ProcessMetrics times the event loop by how late its timer fires",
  { permissions: "none" },
  async () => {
    const clock = new FakeClock();
    using metrics = new ProcessMetrics({ clock, log: { dropped: 3 } }, { version: "1.2.3" });
    await clock.advance(500);
    // Busy for 300 ms when the timer is due.
    clock.jump(800);
    await clock.advance(0);
    const page = pageOf(metrics);
    assert.match(page, /^fervo_event_loop_lag_seconds_bucket\{le="0.001"\} 1$/m);
    assert.match(page, /^fervo_event_loop_lag_seconds_bucket\{le="0.5"\} 2$/m);
    assert.match(page, /^fervo_event_loop_lag_seconds_sum 0\.3$/m);
  },
);

Deno.test(
  "ProcessMetrics tells version, start, CPU and memory in base units",
  { permissions: "none" },
  () => {
    const clock = new FakeClock(1_700_000_000_500);
    using metrics = new ProcessMetrics({ clock, log: { dropped: 3 } }, { version: "1.2.3" });
    const page = pageOf(metrics);
    assert.match(page, /^fervo_build_info\{version="1\.2\.3"\} 1$/m);
    assert.match(page, /^process_start_time_seconds 1700000000\.5$/m);
    const number = (name: string) => Number(new RegExp(`^${name} (.*)$`, "m").exec(page)?.[1]);
    const cpuS = number("process_cpu_seconds_total");
    assert.ok(cpuS > 0 && cpuS < 10_000, `${cpuS} s`);
    assert.ok(number("process_resident_memory_bytes") > 1_000_000);
    assert.ok(number("fervo_heap_bytes") > 100_000);
    assert.equal(number("fervo_log_lines_dropped_total"), 3);
  },
);

Deno.test("ProcessMetrics leaves no timer behind", { permissions: "none" }, async () => {
  const clock = new FakeClock();
  const metrics = new ProcessMetrics({ clock, log: { dropped: 3 } }, { version: "" });
  await clock.advance(1_200);
  metrics[Symbol.dispose]();
  assert.equal(clock.pendingTimers, 0);
});
