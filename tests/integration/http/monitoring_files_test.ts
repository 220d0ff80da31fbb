/** docs/monitoring: the alert rules and the dashboard, by Prometheus's own tool. Needs promtool. */
import assert from "node:assert/strict";
import { METRIC_TEXTS } from "../../../src/telemetry/metrics/catalog.ts";
import { runProgram } from "../../support/run_program.ts";

const FOLDER = new URL("../../../docs/monitoring/", import.meta.url);
const RULES = new URL("alerts.yml", FOLDER).pathname;

/** A series of samples, one each 15 seconds, in promtool's words: `0x40 1x200`. */
interface Case {
  readonly alert: string;
  readonly series: Readonly<Record<string, string>>;
  /** The label that tells what is meant. */
  readonly label: readonly [name: string, value: string];
}

const JOBS = 'fervo_jobs_total{consumer="c",queue="mail",outcome';
const CASES: readonly Case[] = [
  {
    alert: "FervoConsumerDown",
    series: { 'fervo_consumer_up{consumer="c"}': "0x100" },
    label: ["consumer", "c"],
  },
  {
    alert: "FervoConsumerStarved",
    series: { 'fervo_consumer_starved_seconds{consumer="c"}': "90x100" },
    label: ["consumer", "c"],
  },
  {
    alert: "FervoNoReceive",
    series: {
      'fervo_last_receive_timestamp_seconds{consumer="c"}': "0x100",
      'fervo_slots_busy{consumer="c"}': "0x100",
      'fervo_slots{consumer="c"}': "4x100",
    },
    label: ["consumer", "c"],
  },
  { alert: "FervoOrphans", series: { 'fervo_broker_orphans{broker="b"}': "1x100" }, label: ["broker", "b"] },
  {
    alert: "FervoBrokerUnavailable",
    series: { 'fervo_broker_up{broker="b"}': "0x100" },
    label: ["broker", "b"],
  },
  { alert: "FervoFpmUnavailable", series: { 'fervo_fpm_up{fpm="f"}': "0x100" }, label: ["fpm", "f"] },
  // The first dead letter of a worker's life, of one that was scraped before it and of one that was not.
  { alert: "FervoDeadLetters", series: { [`${JOBS}="bury"}`]: "0x20 1x80" }, label: ["queue", "mail"] },
  { alert: "FervoDeadLetters", series: { [`${JOBS}="bury"}`]: "_x20 1x80" }, label: ["queue", "mail"] },
  {
    alert: "FervoJobsFail",
    series: {
      [`${JOBS}="ack"}`]: "0+10x200",
      [`${JOBS}="retry"}`]: "0+10x200",
      [`${JOBS}="bury"}`]: "0x200",
    },
    label: ["queue", "mail"],
  },
  {
    alert: "FervoJobsWait",
    series: {
      'fervo_job_wait_seconds_bucket{queue="mail",le="60"}': "0x200",
      'fervo_job_wait_seconds_bucket{queue="mail",le="300"}': "0+10x200",
      'fervo_job_wait_seconds_bucket{queue="mail",le="+Inf"}': "0+10x200",
    },
    label: ["queue", "mail"],
  },
  {
    alert: "FervoQueueLate",
    series: { 'fervo_queue_latency_seconds{broker="b",queue="mail"}': "600x100" },
    label: ["queue", "mail"],
  },
  {
    alert: "FervoBacklog",
    series: { 'fervo_queue_jobs{broker="b",queue="mail",state="ready"}': "20000x100" },
    label: ["queue", "mail"],
  },
];

/** A worker that does well, whose samples fire nothing. */
const WELL: Readonly<Record<string, string>> = {
  'fervo_consumer_up{consumer="c"}': "1x200",
  'fervo_consumer_starved_seconds{consumer="c"}': "5x200",
  'fervo_last_receive_timestamp_seconds{consumer="c"}': "0+15x200",
  'fervo_slots_busy{consumer="c"}': "1x200",
  'fervo_slots{consumer="c"}': "4x200",
  'fervo_broker_orphans{broker="b"}': "0x200",
  'fervo_broker_up{broker="b"}': "1x200",
  'fervo_fpm_up{fpm="f"}': "1x200",
  [`${JOBS}="ack"}`]: "0+10x200",
  [`${JOBS}="retry"}`]: "0+1x200",
  [`${JOBS}="bury"}`]: "0x200",
  'fervo_job_wait_seconds_bucket{queue="mail",le="60"}': "0+10x200",
  'fervo_job_wait_seconds_bucket{queue="mail",le="+Inf"}': "0+10x200",
  'fervo_queue_latency_seconds{broker="b",queue="mail"}': "2x200",
  'fervo_queue_jobs{broker="b",queue="mail",state="ready"}': "100x200",
};

function alertsOf(rules: string): string[] {
  return [...rules.matchAll(/^ *- alert: (\w+)/gm)].map((match) => match[1]!);
}

/** What promtool says when each of the cases is to fire its alert, and all else none. */
async function promtoolTest(): Promise<string> {
  const test = (series: Readonly<Record<string, string>>, atMinutes: number, alerts: object[]) => ({
    interval: "15s",
    input_series: Object.entries(series).map(([name, values]) => ({ series: name, values })),
    alert_rule_test: alerts.map((alert) => ({ eval_time: `${atMinutes}m`, ...alert })),
  });
  const names = [...new Set(CASES.map(({ alert }) => alert))];
  const tests = [
    test(WELL, 40, names.map((alertname) => ({ alertname, exp_alerts: [] }))),
    ...CASES.map(({ alert, series, label: [name, value] }) => {
      const at = alert === "FervoDeadLetters"
        ? 10
        : alert === "FervoJobsFail" || alert === "FervoJobsWait"
        ? 45
        : 20;
      return test(series, at, [{ alertname: alert, exp_alerts: [{ exp_labels: { [name]: value } }] }]);
    }),
  ];
  const path = await Deno.makeTempFile({ suffix: ".json" });
  try {
    // JSON is YAML, too.
    await Deno.writeTextFile(
      path,
      JSON.stringify({ rule_files: [RULES], evaluation_interval: "15s", tests }),
    );
    const { success, said } = await runProgram("promtool", "test", "rules", path);
    return success ? "" : said;
  } finally {
    await Deno.remove(path);
  }
}

Deno.test("Each alert of docs/monitoring fires when it should, and none of a worker that does well", async () => {
  const rules = await Deno.readTextFile(RULES);
  assert.deepEqual([...new Set(CASES.map(({ alert }) => alert))].toSorted(), alertsOf(rules).toSorted());
  assert.equal(await promtoolTest(), "");
});

Deno.test("docs/monitoring.md says of each alert when it fires, and why it matters", async () => {
  const page = await Deno.readTextFile(new URL("../monitoring.md", FOLDER));
  const told = [...page.matchAll(/^\| `(Fervo\w+)`/gm)].map(([, alert]) => alert!);
  assert.deepEqual(told.toSorted(), alertsOf(await Deno.readTextFile(RULES)).toSorted());
});

Deno.test("The dashboard of docs/monitoring asks for metrics that there are, in expressions that Prometheus reads", async () => {
  const dashboard = JSON.parse(await Deno.readTextFile(new URL("grafana.json", FOLDER)));
  const targets = dashboard.panels.flatMap((panel: { targets: { expr: string }[] }) => panel.targets) as {
    expr: string;
  }[];
  assert.ok(targets.length > 10);
  const rules = targets.map(({ expr }, i) => ({
    record: `panel_${i}`,
    expr: expr.replaceAll("$__rate_interval", "1m"),
  }));
  const path = await Deno.makeTempFile({ suffix: ".json" });
  try {
    await Deno.writeTextFile(path, JSON.stringify({ groups: [{ name: "dashboard", rules }] }));
    const { success, said } = await runProgram("promtool", "check", "rules", path);
    assert.ok(success, said);
  } finally {
    await Deno.remove(path);
  }
  for (const { expr } of targets) {
    for (const [name] of expr.matchAll(/\b(?:fervo|process)_\w+/g)) {
      assert.ok(name.replace(/_bucket$/, "") in METRIC_TEXTS, name);
    }
  }
});
