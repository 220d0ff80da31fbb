import assert from "node:assert/strict";
import { parseHostPort, parseRedisUrl } from "../../../src/redis/address.ts";
import { answerCode, unavailableError } from "../../../src/redis/errors.ts";
import { RedisKeys } from "../../../src/brokers/sidekiq/keys.ts";
import { hasHashTag, slotOf } from "../../../src/redis/server.ts";

const tcp = (hostname: string, port = 6_379) => ({ transport: "tcp", hostname, port });

Deno.test("parseRedisUrl() reads hosts, sockets, databases and who to be", { permissions: "none" }, () => {
  const cases: [text: string, expected: object][] = [
    ["redis://localhost", { endpoint: tcp("localhost"), isTls: false }],
    ["redis://10.0.0.1:7000/5", { endpoint: tcp("10.0.0.1", 7_000), isTls: false, database: 5 }],
    ["rediss://[2001:db8::1]:1/", { endpoint: tcp("2001:db8::1", 1), isTls: true }],
    ["redis://:p%2Fw@h", { endpoint: tcp("h"), isTls: false, password: "p/w" }],
    ["redis://u:p@h", { endpoint: tcp("h"), isTls: false, username: "u", password: "p" }],
    ["/run/r.sock", { endpoint: { transport: "unix", path: "/run/r.sock" }, isTls: false }],
    ["unix:/run/r.sock", { endpoint: { transport: "unix", path: "/run/r.sock" }, isTls: false }],
    ["unix:///run/a%20b?db=2", {
      endpoint: { transport: "unix", path: "/run/a b" },
      isTls: false,
      database: 2,
    }],
  ];
  for (const [text, expected] of cases) assert.deepEqual(parseRedisUrl(text), expected, text);
  for (const text of ["", "localhost", "http://h", "redis://", "redis://h/x", "unix://", "redis://h:99999"]) {
    assert.throws(() => parseRedisUrl(text), TypeError, text);
  }
});

Deno.test("parseHostPort() reads hosts with and without a port", { permissions: "none" }, () => {
  assert.deepEqual(parseHostPort("a.b-c:1", 9), tcp("a.b-c", 1));
  assert.deepEqual(parseHostPort("h", 9), tcp("h", 9));
  assert.deepEqual(parseHostPort("[::1]:2", 9), tcp("::1", 2));
  for (const text of ["", ":1", "a:", "a:0", "a:65536", "a b:1", "u@h:1", "::1"]) {
    assert.throws(() => parseHostPort(text, 9), TypeError, text);
  }
});

Deno.test("slotOf() is the slot that Redis says", { permissions: "none" }, () => {
  // By CLUSTER KEYSLOT of Redis 7.
  const slots: [key: string, slot: number][] = [["foo", 12_182], ["{user1000}.following", 3_443], ["", 0], [
    "foo{}{bar}",
    8_363,
  ], ["foo{{bar}}zap", 4_015]];
  for (const [key, slot] of slots) assert.equal(slotOf(key), slot, key);
  assert.equal(slotOf("{jobs}:queue:a"), slotOf("{jobs}:"));
});

Deno.test("hasHashTag() tells prefixes that keep all keys in one slot", { permissions: "none" }, () => {
  for (const prefix of ["{jobs}:", "a{b}", "{a}{}"]) assert.equal(hasHashTag(prefix), true, prefix);
  for (const prefix of ["", "jobs:", "{}:", "{jobs", "jobs}:", "{}{a}"]) {
    assert.equal(hasHashTag(prefix), false, prefix);
  }
});

Deno.test("RedisKeys knows the type of each of its keys", { permissions: "none" }, () => {
  const keys = new RedisKeys("ns:");
  const types: Record<string, string> = {
    [keys.queue("schedule")]: "list",
    [keys.inflight("h:1:a", "q")]: "list",
    [keys.queues]: "set",
    [keys.processes]: "set",
    [keys.owners]: "set",
    [keys.queuesOf("h:1:a")]: "set",
    [keys.schedule]: "zset",
    [keys.retry]: "zset",
    [keys.dead]: "zset",
    [keys.process("h:1:a")]: "hash",
    [`${keys.process("h:1:a")}:work`]: "hash",
    [`${keys.process("h:1:a")}-signals`]: "list",
    [keys.suspects]: "hash",
    [keys.recovery]: "string",
    [keys.stat("processed", "2026-01-01")]: "string",
  };
  for (const [key, type] of Object.entries(types)) assert.equal(keys.typeOf(key), type, key);
});

Deno.test(
  "unavailableError() says what to do, for each way in which Redis refuses",
  { permissions: "none" },
  () => {
    const words: [answer: string, advice: RegExp][] = [
      [
        "WRONGPASS invalid username-password pair or user is disabled.",
        /the user name or the password is wrong/,
      ],
      ["NOAUTH Authentication required.", /set password or password_file/],
      ["READONLY You can't write against a read only replica.", /give the master's address/],
      ["LOADING Redis is loading the dataset in memory", /it is loading/],
      ["MASTERDOWN Link with MASTER is down", /whose master is unavailable/],
      ["UNBLOCKED force unblock from blocking operation", /has become a replica/],
      ["CLUSTERDOWN Hash slot not served", /the cluster has no master/],
      ["NOREPLICAS Not enough good replicas to write.", /min-replicas-to-write/],
      // In a script, of 7.0 and of 8.0.
      [
        "ERR The user executing the script can't run this command or subcommand",
        /lists the rights that a worker needs/,
      ],
      [
        "ERR ACL failure in script: User default has no permissions to run the 'lmove' command",
        /lists the rights that a worker needs/,
      ],
      ["OOM command not allowed when used memory > 'maxmemory'.", /its memory is full/],
      ["ERR unknown command 'LMOVE', with args beginning with:", /6\.2 or newer/],
      ["CROSSSLOT Keys in request don't hash to the same slot", /a part in braces/],
    ];
    for (const [answer, advice] of words) {
      const { code, message } = unavailableError("h:1", new Error(answer));
      assert.equal(code, "QUEUE_UNAVAILABLE");
      assert.match(message, /^Cannot use Redis at "h:1": /);
      assert.match(message, advice);
      assert.ok(message.endsWith(`(${answer})`), message);
    }
    assert.equal(
      answerCode(new Error("ERR Error running script: @user_script:2: WRONGTYPE Operation against")),
      "WRONGTYPE",
    );
    assert.match(
      unavailableError("h", new Error("WRONGTYPE x"), "queue:q").message,
      /the key "queue:q" holds/,
    );
  },
);
