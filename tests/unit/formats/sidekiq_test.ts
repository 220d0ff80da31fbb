import assert from "node:assert/strict";
import { JobError } from "../../../src/core/errors.ts";
import { sidekiq6, sidekiq7, sidekiq8, type SidekiqFormat } from "../../../src/formats/sidekiq.ts";

const encode = (text: string) => new TextEncoder().encode(text);
/** A job as it was read. */
const job = (text: string | Uint8Array) => sidekiq7.parse(typeof text === "string" ? encode(text) : text);
const decode = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
const message = (text: string, format: SidekiqFormat = sidekiq7) => format.read({ body: encode(text) });

/** The class of Rails' jobs. */
const RAILS = "ActiveJob::QueueAdapters::SidekiqAdapter::JobWrapper";
const FAILED = new JobError("JOB_FAILED", "It went wrong", { details: { stderr: "oh" } });
const NOW_MS = 1_700_000_000_000;
/** In the form in which Sidekiq 6.4.1 pushes jobs; its numbers are not what JavaScript would write. */
const RUBY =
  '{"retry":true,"queue":"mail","class":"HardJob","args":["a",1.0,12345678901234567890],"jid":"4f4f485d4ac2603ea8b7173c",' +
  '"created_at":1795456398.374934,"enqueued_at":1795456398.3752277}';
/** As musicglue/sidekiq-job-pusher and FervoDeferredEventBundle 0.3 push it. */
const DEFERRED = '{"class":"DeferEvent","args":["Tzo4OiJzdGRDbGFzcyI6MDp7fQ=="],"retry":false}';

Deno.test(
  "decode() gives PHP the whole job, with id, attempts and time from it",
  { permissions: "none" },
  () => {
    assert.deepEqual({ ...message(RUBY), payload: decode(message(RUBY).payload) }, {
      payload: RUBY,
      id: "4f4f485d4ac2603ea8b7173c",
      maxAttempts: 26,
      minAttempts: 1,
      enqueuedAtMs: 1_795_456_398_375,
    });
  },
);

Deno.test(
  "decode() gives PHP the argument of a DeferEvent, as the Ruby worker did",
  { permissions: "none" },
  () => {
    const { payload, ...rest } = message(DEFERRED);
    assert.equal(decode(payload), "Tzo4OiJzdGRDbGFzcyI6MDp7fQ==");
    assert.deepEqual(rest, { maxAttempts: 1, minAttempts: 1 });
    for (const args of ['["a","b"]', "[]", "[1]"]) {
      const text = `{"class":"DeferEvent","args":${args}}`;
      assert.equal(decode(message(text).payload), text, "not what that bundle pushes: the whole job");
    }
  },
);

Deno.test("decode() reads the limit of attempts as Sidekiq does", { permissions: "none" }, () => {
  const limits: [fields: string, expected: number | undefined][] = [
    ["", undefined],
    [',"retry":null', undefined],
    [',"retry":true', 26],
    [',"retry":false', 1],
    [',"retry":0', 1],
    [',"retry":5', 6],
    [',"retry":-3', 1],
    [',"retry":"yes"', 26],
    [',"retry":"5"', 26],
    [',"retry":""', 26],
    [',"retry":[]', 26],
    [',"retry":{"retry":3}', 26],
    [',"retry":2.5', 26],
    // Not written as integers, which Ruby tells apart.
    [',"retry":5.0', 26],
    [',"retry" : 5e0', 26],
    [',"retry":-0.0', 26],
    [',"x":{"retry":1.5},"retry":5', 6],
    [',"retry":5.0,"retry":4', 5],
    [',"retry":12345678901234567890', 2 ** 31],
    [',"retry":5,"fervo_recovered":2', 8],
    [',"retry":5,"fervo_recovered":"x"', 6],
  ];
  for (const [fields, expected] of limits) {
    assert.equal(message(`{"class":"X","args":[]${fields}}`).maxAttempts, expected, fields);
  }
});

Deno.test(
  "decode() takes retry_for for a time since the first failure, beside a count up to 7, instead of it from 8 on",
  {
    permissions: "none",
  },
  () => {
    const limits = (fields: string, format: SidekiqFormat) => {
      const { maxAttempts, retryUntilMs } = message(`{"class":"X","args":[]${fields}}`, format);
      return [maxAttempts, retryUntilMs];
    };
    const failed = `,"retry_count":0,"failed_at":${NOW_MS / 1_000}.0`;
    for (const format of [sidekiq6, sidekiq7, sidekiq8]) {
      const most = format === sidekiq8 ? 2 ** 31 : undefined;
      assert.deepEqual(limits(',"retry_for":30', format), [most ?? 26, undefined], "it has not failed yet");
      assert.deepEqual(limits(`,"retry_for":30${failed}`, format), [most ?? 26, NOW_MS + 30_000]);
      assert.deepEqual(limits(`,"retry":3,"retry_for":0.5${failed}`, format), [most ?? 4, NOW_MS + 500]);
      assert.deepEqual(limits(`,"retry":null,"retry_for":9${failed}`, format), [most ?? 26, NOW_MS + 9_000]);
      assert.deepEqual(limits(`,"retry":false,"retry_for":30${failed}`, format), [1, undefined]);
      for (const window of ["0", "-5"]) {
        assert.deepEqual(limits(`,"retry_for":${window}`, format), [
          1,
          undefined,
        ]);
      }
      for (const window of ['"48h"', "null", "[]", "1e999"]) {
        assert.deepEqual(
          limits(`,"retry":2,"retry_for":${window}${failed}`, format),
          [3, undefined],
          window,
        );
      }
      // A time that nobody can know, and one after "Retry" on a job that has failed once: its time goes on.
      assert.deepEqual(limits(',"retry_for":30,"retry_count":1', format), [most ?? 26, undefined]);
      assert.equal(limits(`,"retry_for":1e300${failed}`, format)[1], NOW_MS + 1e303);
    }
    const inMs = `,"retry_for":30,"retry_count":0,"failed_at":${NOW_MS}`;
    assert.deepEqual(limits(inMs, sidekiq8), [2 ** 31, NOW_MS + 30_000]);
  },
);

Deno.test("decode() reads the jobs of Rails", { permissions: "none" }, () => {
  for (
    const fields of [
      '"args":[{"arguments":[]}],"wrapped":"Y"',
      '"args":[{"arguments":["M","m","now",{"args":[]}]}],"wrapped":"ActionMailer::MailDeliveryJob"',
      '"args":["Y"]',
    ]
  ) assert.ok(message(`{"class":"${RAILS}",${fields}}`).payload.length > 0, fields);
});

Deno.test("decode() passes on a trace context", { permissions: "none" }, () => {
  const context = { traceparent: "00-ab-cd-01", tracestate: "vendor=1" };
  const { traceparent, tracestate } = message(JSON.stringify({ class: "X", args: [], ...context }));
  assert.deepEqual({ traceparent, tracestate }, context);
});

Deno.test(
  "decode() refuses what is no job, and ids that PHP could not be given",
  { permissions: "none" },
  () => {
    const texts = [
      "",
      "{",
      "[]",
      '"x"',
      "{}",
      '{"class":"X"}',
      '{"args":[]}',
      '{"class":1,"args":[]}',
      '{"class":"X","args":{}}',
      '{"class":"X","args":[],"jid":"a\\u0000b"}',
      '{"class":"X","args":[],"jid":"\\ud800"}',
      `{"class":"X","args":[],"jid":"${"a".repeat(256)}"}`,
      '{"class":"DeferEvent","args":["\\ud800"]}',
      '{"class":"X","args":[],"encrypt":true}',
      `{"class":"${RAILS}","args":[],"wrapped":"Y"}`,
      `{"class":"${RAILS}","args":[{"arguments":5}],"wrapped":"Y"}`,
      `{"class":"${RAILS}","args":["ActionMailer::DeliveryJob"]}`,
      `{"class":"${RAILS}","args":[{"arguments":[1,2,3]}],"wrapped":"ActionMailer::MailDeliveryJob"}`,
    ];
    for (const text of texts) {
      assert.throws(
        () => message(text),
        (error) => error instanceof JobError && error.code === "JOB_MALFORMED",
        text,
      );
    }
  },
);

Deno.test(
  "facts() tells attempts, times of either unit, and why a job failed",
  { permissions: "none" },
  () => {
    const read = (fields: string) => sidekiq7.facts(job(`{"class":"X","args":[]${fields}}`));
    assert.deepEqual(read(""), { attempts: 0, recoveries: 0, isKeptWhenDead: true, isRepeat: false });
    assert.equal(read(',"retry_count":0').attempts, 1);
    assert.equal(read(',"retry_count":3,"fervo_recovered":2').attempts, 6);
    assert.equal(read(',"retry_count":-1').attempts, 0, 'what "Retry" makes of 0');
    assert.equal(read(',"retry_count":-1e300').attempts, 0);
    assert.equal(read(',"retry_count":1e300').attempts, 2 ** 31);
    assert.equal(read(',"retry_count":1e999').attempts, 0);
    assert.equal(read(',"retry_count":"3"').attempts, 0);
    assert.equal(read(',"queue":""').queue, undefined);
    assert.equal(read(',"queue":5').queue, undefined);
    assert.equal(read(',"dead":false').isKeptWhenDead, false);
    assert.equal(read(',"created_at":1700000000.5').createdAtMs, 1_700_000_000_500);
    assert.equal(
      read(',"created_at":1700000000').createdAtMs,
      1_700_000_000_000,
      "seconds, as old clients write them",
    );
    assert.equal(read(',"created_at":1700000000500').createdAtMs, 1_700_000_000_500);
    for (const time of ["1e300", "8640000000000001", "-5", "null", '"2026-01-31"', "{}"]) {
      assert.equal(read(`,"created_at":${time}`).createdAtMs, undefined, time);
    }
    assert.deepEqual(read(',"error_class":"JOB_CRASHED","error_message":"m","fervo_stderr":"s"').error, {
      code: "JOB_CRASHED",
      message: "m",
      stderr: "s",
    });
    assert.deepEqual(read(',"error_class":"NoMethodError","error_message":"m"').error, {
      code: "JOB_FAILED",
      message: "NoMethodError: m",
    });
  },
);

Deno.test(
  "failed() writes Sidekiq's fields, and leaves all others as they were",
  { permissions: "none" },
  () => {
    const first = sidekiq7.failed(job(RUBY), { id: "x", queue: "mail", error: FAILED, nowMs: NOW_MS });
    assert.equal(first.queue, "mail");
    const added = ',"error_message":"It went wrong","error_class":"JOB_FAILED","retry_count":0,' +
      '"failed_at":1700000000.000,"fervo_stderr":"oh"}';
    assert.equal(decode(first.raw), RUBY.slice(0, -1) + added);
    const second = sidekiq7.failed(job(first.raw), {
      id: "x",
      queue: "mail",
      error: new JobError("JOB_TIMEOUT", "Slow"),
      nowMs: NOW_MS + 1_500,
    });
    assert.equal(
      decode(second.raw),
      RUBY.slice(0, -1) +
        ',"error_message":"Slow","error_class":"JOB_TIMEOUT","retry_count":1,"failed_at":1700000000.000,' +
        '"retried_at":1700000001.500}',
    );
  },
);

Deno.test(
  "failed() drops the backtrace of an error before, which Sidekiq wrote",
  { permissions: "none" },
  () => {
    const { raw } = sidekiq7.failed(
      job(
        '{"class":"X","args":[],"jid":"a","queue":"q","error_message":"old","error_class":"KeyError",' +
          '"error_backtrace":"eJyLjgUAARUAuQ==","retry_count":0,"failed_at":1600000000.5}',
      ),
      { id: "a", queue: "q", error: FAILED, nowMs: NOW_MS },
    );
    assert.equal(
      decode(raw),
      '{"class":"X","args":[],"jid":"a","queue":"q","error_message":"It went wrong","error_class":"JOB_FAILED",' +
        '"retry_count":1,"failed_at":1600000000.5,"retried_at":1700000000.000,"fervo_stderr":"oh"}',
    );
  },
);

Deno.test(
  "failed() gives a job without id or queue both, and heeds retry_queue",
  { permissions: "none" },
  () => {
    const { raw } = sidekiq7.failed(job(DEFERRED), {
      id: "0a",
      queue: "default",
      error: FAILED,
      nowMs: NOW_MS,
    });
    const fields = JSON.parse(decode(raw));
    assert.deepEqual([fields.jid, fields.queue, fields.retry], ["0a", "default", false]);
    const elsewhere = sidekiq7.failed(job('{"class":"X","args":[],"queue":"q","retry_queue":"slow"}'), {
      id: "0a",
      queue: "q",
      error: FAILED,
      nowMs: NOW_MS,
    });
    assert.equal(elsewhere.queue, "slow");
    assert.equal(JSON.parse(decode(elsewhere.raw)).queue, "slow");
  },
);

Deno.test(
  'failed() counts from what "Retry" left, and gives a job without the time of its first failure one',
  {
    permissions: "none",
  },
  () => {
    const failed = (fields: string) => {
      const raw = encode(`{"class":"X","args":[]${fields}}`);
      const { retry_count, failed_at, retried_at } = JSON.parse(
        decode(sidekiq7.failed(job(raw), { id: "a", queue: "q", error: FAILED, nowMs: NOW_MS }).raw),
      );
      return [retry_count, failed_at, retried_at];
    };
    const now = NOW_MS / 1_000;
    assert.deepEqual(failed(',"retry_count":-1,"failed_at":1600000000.5'), [0, 1_600_000_000.5, now]);
    assert.deepEqual(failed(',"retry_count":0,"failed_at":1600000000.5'), [1, 1_600_000_000.5, now]);
    assert.deepEqual(failed(',"retry_count":2'), [3, now, now]);
    assert.deepEqual(failed(',"retry_count":2,"failed_at":"x"'), [3, now, now]);
    assert.deepEqual(failed(',"retry_count":"x"'), [0, now, undefined]);
  },
);

Deno.test("pushed() and failed() make a list of tags that are none, which Sidekiq's pages would raise at", {
  permissions: "none",
}, () => {
  const nested = "[".repeat(20_000) + "]".repeat(20_000);
  for (
    const [tags, written] of [
      ["5", "[5]"],
      ['"a"', '["a"]'],
      ['{"a": 1.0}', '[{"a": 1.0}]'],
      ["[5]", "[5]"],
      [
        "null",
        "null",
      ],
      [`{"a":${nested}}`, `[{"a":${nested}}]`],
    ] as const
  ) {
    const raw = encode(`{"class":"X","args":[],"tags":${tags},"jid":"a"}`);
    const texts = [
      sidekiq7.pushed(raw, { id: "a", queue: "q", isDelayed: false, nowMs: NOW_MS }).raw,
      sidekiq7.failed(job(raw), { id: "a", queue: "q", error: FAILED, nowMs: NOW_MS }).raw,
    ].map(decode);
    for (const text of texts) assert.ok(text.includes(`"tags":${written},"jid"`), text.slice(0, 200));
  }
});

Deno.test("unreadable() files any bytes as a job in form; letter() and revived() give them back", {
  permissions: "none",
}, () => {
  const error = new JobError("JOB_MALFORMED", "Cannot read it");
  const failure = { id: "a1", queue: "mail", error, nowMs: NOW_MS };
  for (const text of ["null", "5", "[1]", '"x"', "", "{not json", "{}", '{"class":5}', "\u0000"]) {
    const letter = sidekiq7.unreadable(encode(text), failure);
    const fields = JSON.parse(decode(letter));
    assert.deepEqual([fields.class, fields.args, fields.queue, fields.jid, fields.retry], [
      "fervo-worker: unreadable message",
      [text],
      "mail",
      "a1",
      0,
    ]);
    assert.deepEqual([fields.error_class, fields.retry_count, fields.failed_at], [
      "JOB_MALFORMED",
      0,
      NOW_MS / 1_000,
    ]);
    const { payload, ...facts } = sidekiq7.letter(letter);
    assert.equal(decode(payload), text);
    assert.deepEqual(facts, {
      queue: "mail",
      id: "a1",
      error: { code: "JOB_MALFORMED", message: "Cannot read it" },
      attempts: 1,
    });
    assert.deepEqual(sidekiq7.revived(letter, NOW_MS), { raw: encode(text), queue: "mail" });
    // The Web UI's "Retry" brings it back: it is no job, and is filed once.
    assert.throws(() => sidekiq7.parse(letter), (thrown) => (thrown as JobError).code === "JOB_MALFORMED");
    assert.deepEqual(sidekiq7.unreadable(letter, failure), letter);
  }
  const bytes = new Uint8Array([0xff, 0xfe, 0, 0x80]);
  assert.deepEqual(sidekiq7.letter(sidekiq7.unreadable(bytes, failure)).payload, bytes);
  const lost = sidekiq7.unreadable(encode("5"), { ...failure, queue: undefined });
  assert.equal(sidekiq7.letter(lost).queue, "");
  assert.throws(() => sidekiq7.revived(lost, NOW_MS), /its queue is unknown/);
});

Deno.test("failed() cuts the message as Sidekiq does, and writes texts that JSON can hold", {
  permissions: "none",
}, () => {
  const error = new JobError("JOB_FAILED", `\ud800${"x".repeat(20_000)}`);
  const { raw } = sidekiq7.failed(job(DEFERRED), { id: "a", queue: "q", error, nowMs: NOW_MS });
  assert.equal(JSON.parse(decode(raw)).error_message, `\ufffd${"x".repeat(9_999)}`);
});

Deno.test("Times are seconds with a fraction up to 7, and whole milliseconds from 8 on", {
  permissions: "none",
}, () => {
  const written = (format: SidekiqFormat) =>
    /"enqueued_at":([^,}]*)/.exec(decode(format.enqueued(encode(DEFERRED), NOW_MS).raw))![1];
  assert.equal(written(sidekiq6), "1700000000.000");
  assert.equal(written(sidekiq7), "1700000000.000");
  assert.equal(written(sidekiq8), "1700000000000");
});

Deno.test("pushed() completes a job, and keeps what its producer said", { permissions: "none" }, () => {
  const push = (text: string, isDelayed = false) => {
    const { raw, id } = sidekiq7.pushed(encode(text), { id: "0a", queue: "q", isDelayed, nowMs: NOW_MS });
    return [id, decode(raw)];
  };
  const now = "1700000000.000";
  assert.deepEqual(push('{"class":"X","args":[]}'), [
    "0a",
    `{"class":"X","args":[],"queue":"q","jid":"0a","created_at":${now},"enqueued_at":${now}}`,
  ]);
  assert.deepEqual(push('{"class":"X","args":[],"jid":"b","queue":"other","at":5,"created_at":1.5}', true), [
    "b",
    '{"class":"X","args":[],"jid":"b","queue":"q","created_at":1.5}',
  ]);
});

Deno.test("revived() begins anew, recovered() counts", { permissions: "none" }, () => {
  const { raw } = sidekiq7.failed(job(RUBY), { id: "x", queue: "mail", error: FAILED, nowMs: NOW_MS });
  const revived = sidekiq7.revived(sidekiq7.recovered(job(raw), { id: "x", queue: "mail" }), NOW_MS);
  assert.equal(decode(revived.raw), RUBY.replace("1795456398.3752277", "1700000000.000"));
  const once = sidekiq7.recovered(job(DEFERRED), { id: "1", queue: "q" });
  const twice = sidekiq7.recovered(job(once), { id: "2", queue: "r" });
  assert.equal(
    decode(twice),
    `${DEFERRED.slice(0, -1)},"jid":"1","queue":"q","fervo_recovered":2,"fervo_lost":true}`,
  );
  const buried = sidekiq7.failed(job(twice), { id: "1", queue: "q", error: FAILED, nowMs: NOW_MS });
  assert.equal(JSON.parse(decode(buried.raw)).fervo_recovered, 2);
  assert.equal("fervo_lost" in JSON.parse(decode(buried.raw)), false);
});

Deno.test("retryDelayMs() is Sidekiq's formula", { permissions: "none" }, () => {
  const delays = (format: SidekiqFormat, random: number) =>
    [1, 2, 3, 25].map((attempt) => format.retryDelayMs(attempt, random));
  const base = [15, 16, 31, 24 ** 4 + 15].map((s) => s * 1_000);
  assert.deepEqual(delays(sidekiq7, 0), base);
  assert.deepEqual(delays(sidekiq8, 0), base);
  assert.equal(sidekiq7.retryDelayMs(3, 0.99), (31 + 9 * 3) * 1_000);
  assert.equal(sidekiq8.retryDelayMs(3, 0.99), (31 + 29) * 1_000);
  // A date can hold the time of any retry.
  assert.ok(sidekiq7.retryDelayMs(2 ** 31, 0) < 1e14);
});

Deno.test("pushed() writes a limit of attempts into the job", { permissions: "none" }, () => {
  const o = { id: "a", queue: "q", isDelayed: true, nowMs: NOW_MS, maxAttempts: 3 };
  assert.equal(
    decode(sidekiq7.pushed(encode('{"class":"X","args":[]}'), o).raw),
    '{"class":"X","args":[],"retry":2,"queue":"q","jid":"a","created_at":1700000000.000}',
  );
  assert.throws(() => sidekiq7.pushed(encode("hello"), o), /Cannot read the message as a Sidekiq job/);
});
