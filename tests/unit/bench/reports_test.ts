import assert from "node:assert/strict";
import { meaning } from "../../../src/bench/meaning.ts";
import { csvCell, csvReport } from "../../../src/bench/csv_report.ts";
import { duration, figure } from "../../../src/bench/format.ts";
import { escapeHtml, htmlReport, samplesOf } from "../../../src/bench/html_report.ts";
import type { BenchResult } from "../../../src/bench/result.ts";
import { textReport } from "../../../src/cli/commands/bench/text.ts";
import { FervoError } from "../../../src/core/errors.ts";
import { benchRun, load, modeRun, resultOf, round } from "./support.ts";

const MODES = [
  modeRun("fastcgi", [round([1, 1, 2, 4]), round([1, 1, 1, 1])]),
  modeRun("process", [round([100, 100, 120, 80]), round([100, 100, 100, 100])]),
  modeRun("raw", [round([0.5, 0.5, 0.5, 0.5]), round([0.5, 0.5, 0.5, 0.5])]),
];
const RESULT = resultOf(MODES);

const NASTY = `<script>alert("1" & '2')</script>`;
const FAILING = modeRun("fastcgi", [
  round([1], {
    jobs: 2,
    failed: 1,
    failures: new Map([[NASTY, { error: new FervoError("JOB_FAILED", NASTY), count: 1 }]]),
  }),
]);

const TEXT = `Machine   2 x A CPU, 8 GiB, Linux 6.1.0
Versions  fervo-worker 1.2.3, Deno 2.9.6, php-fpm 8.2.29, php 8.2.29
php-fpm   started for this, /tmp/x/fpm.sock, pm = static, 4 children
Script    /tmp/x/job.php, payload of 7 bytes
Process   /usr/bin/php8.2 /tmp/x/job.php
Load      4 jobs a mode in 1 round, 4 at once; a slot starts its next job when the previous job has ended

                    FASTCGI  PROCESS    RAW
Average, ms            1.50      100  0.500
Median                    1      100  0.500
Min                       1       80  0.500
Max                       4      120  0.500
Stdev                     1       10      0
p95                       4      120  0.500
p99                       4      120  0.500
Jobs/s                  750       10  2,000
Worker CPU, µs/job      100      100    100
PHP CPU, µs/job         200      200    200
PHP memory, MiB          30       30     30
Jobs                      8        8      8

Run times of the jobs, on a log scale:
fastcgi                 █     ▂     ▂
process                                                       ▂ █▂
raw              █
                        |1 ms               |10 ms              |100 ms

fastcgi is 75 x (50-100) the throughput of process
raw is 200 x (200-200) the throughput of process
fastcgi is 0.375 x (0.250-0.500) the throughput of raw

What it means:
  Half of the jobs took less than 1 ms on php-fpm, and less than 100 ms in a process of their own.
  In the time of one process, php-fpm ran 75 jobs.
  The worker's client reached 38 % of a loop that only writes and reads bytes; the rest is what it costs to make each request and to check each answer.
`;

Deno.test("textReport() has the conditions, the figures as columns, plots, ratios and what they mean", () => {
  assert.equal(textReport(RESULT), TEXT);
});

/** Results with something to warn of, and the words that do. */
const WARNINGS: readonly [what: string, result: BenchResult, words: readonly RegExp[]][] = [
  ["an interrupted run", resultOf(MODES, { complete: false }), [/^INCOMPLETE: /m]],
  ["failed jobs", resultOf([FAILING]), [
    /^fastcgi: 1 of 2 jobs FAILED$/m,
    /^ {2}1 x JOB_FAILED: /m,
    /^Failed +1$/m,
  ]],
  ["a note", resultOf(MODES, {}, ["The mode process was left out: because"]), [
    /^Note: The mode process was left out: /m,
  ]],
  [
    "a rate that was not kept",
    resultOf([modeRun("process", [round([1, 1], { lateMs: Float64Array.of(0, 990) })])], { rate_per_s: 100 }),
    [/^process did NOT keep the rate: 100 jobs\/s were asked for, 1 were started; .* 990 ms at most$/m],
  ],
  [
    "more jobs at once than children",
    resultOf([modeRun("fastcgi", [round([4, 4, 4, 4], { elapsedMs: 4 })], { atChildren: load([1, 1]) })], {
      children: 2,
    }),
    [/^4 jobs at once on 2 PHP processes:$/m, /waited at least 50 % of its time/, /^Set concurrency to 2,/m],
  ],
  [
    "what was not measured",
    resultOf([modeRun("fastcgi", [{ ...round([1]), phpCpuUs: null }], { memory: null })], { children: null }),
    [/^PHP CPU, µs\/job +–$/m, /^PHP memory, MiB +–$/m],
  ],
];

for (const [what, result, words] of WARNINGS) {
  Deno.test(`textReport() tells of ${what}`, () => {
    for (const word of words) assert.match(textReport(result), word);
    for (const word of words) assert.doesNotMatch(TEXT, word);
  });
}

Deno.test("reports of a run that was interrupted before its first job say so, and nothing else", () => {
  const nothing = resultOf([], { complete: false });
  assert.match(textReport(nothing), /INCOMPLETE/);
  assert.match(htmlReport(nothing, new Map()), /Incomplete/);
  assert.equal(csvReport(nothing).split("\r\n").length, 2);
});

Deno.test("csvReport() has a head line and a line for each mode", () => {
  const [head, ...lines] = csvReport(RESULT).split("\r\n").map((line) => line.split(","));
  assert.deepEqual(head!.slice(0, 4), ["mode", "jobs", "failed", "throughput_per_s"]);
  assert.deepEqual(lines.map(([mode]) => mode), ["fastcgi", "process", "raw", ""]);
  assert.equal(lines[0]![head!.indexOf("median_s")], "0.001");
  assert.equal(lines[0]![head!.indexOf("first_failure")], "");
  assert.ok(lines.slice(0, 3).every((line) => line.length === head!.length));
});

Deno.test("csvCell() quotes what would be read as more than one cell", () => {
  assert.equal(csvCell("plain text"), "plain text");
  assert.equal(csvCell('a,"b"'), '"a,""b"""');
  assert.equal(csvCell("a\nb"), '"a\nb"');
  assert.equal(csvCell("a\rb"), '"a\rb"');
  assert.equal(csvCell(null), "");
  assert.equal(csvCell(0), "0");
});

Deno.test("escapeHtml() leaves nothing that opens a tag, a character reference or ends an attribute", () => {
  assert.equal(escapeHtml(NASTY), "&lt;script&gt;alert(&quot;1&quot; &amp; '2')&lt;/script&gt;");
});

Deno.test("htmlReport() escapes what comes from outside, and asks for nothing from anywhere", () => {
  const result = resultOf([FAILING], { script: NASTY, cpu_model: NASTY, process_command: [NASTY] }, [NASTY]);
  const page = htmlReport(result, samplesOf(benchRun([FAILING])));
  assert.ok(!page.includes("<script"));
  assert.equal(page.split("&lt;script&gt;").length - 1, 5);
  assert.doesNotMatch(page, /\s(?:src|href)=|url\(|https?:/);
});

Deno.test("htmlReport() plots each mode's distribution and timeline, with coordinates that are numbers", () => {
  const page = htmlReport(RESULT, samplesOf(benchRun(MODES)));
  assert.equal([...page.matchAll(/<svg /g)].length, 1 + MODES.length);
  for (const { mode } of MODES) assert.equal(page.split(`<g class="${mode}">`).length - 1, 2, mode);
  assert.doesNotMatch(page, /NaN|Infinity|undefined|null/);
  assert.match(page, /<h1>PHP-FPM: 75 jobs in the time of one process<\/h1>/);
});

Deno.test("figure() has three digits that count, or all in front of the point, and a dash for nothing", () => {
  const texts = [0.0123456, 0.5, 1.006, 12.34, 123.4, 12_345.6, 7, 0, null, NaN, Infinity].map(figure);
  assert.deepEqual(texts, ["0.0123", "0.500", "1.01", "12.3", "123", "12,346", "7", "0", "–", "–", "–"]);
});

Deno.test("duration() chooses the unit", () => {
  assert.deepEqual([12e-6, 0.00123, 0.5, 75].map(duration), ["12 µs", "1.23 ms", "500 ms", "75 s"]);
});

Deno.test("meaning() says what is not known of the pool, and that jobs above its children wait", () => {
  const run = modeRun("fastcgi", [round([1, 2])]);
  const said = (conditions: Parameters<typeof resultOf>[1]) => meaning(resultOf([run], conditions)).join(" ");
  assert.match(
    said({ children: null }),
    /The number of PHP processes of the pool is unknown: set "children"/,
  );
  assert.match(
    said({ children: 4, concurrency: 9, rate_per_s: 100 }),
    /9 jobs were sent at once to 4 PHP .* to 4\./,
  );
  assert.doesNotMatch(said({ children: 4, concurrency: 4, rate_per_s: 100 }), /sent at once|not known/);
});
