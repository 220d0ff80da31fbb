import assert from "node:assert/strict";
import { parseConfig } from "../../../../src/config/load.ts";
import { BROKER, CONSUMER, FPM, NO_ENVIRONMENT, problemsIn } from "../support.ts";

const REST = BROKER + FPM + CONSUMER;
const TOKEN = "0123456789abcdef";

async function httpOf(keys: string) {
  return (await parseConfig(`[http]\n${keys}\n${REST}`, "/etc/fervo.toml", NO_ENVIRONMENT)).http;
}

Deno.test(
  "parseConfig() reads [http]; it is off unless there is an address",
  { permissions: "none" },
  async () => {
    assert.equal((await parseConfig(REST, "/etc/fervo.toml", NO_ENVIRONMENT)).http, undefined);
    const none = { token: undefined, tokenFile: undefined };
    assert.deepEqual(await httpOf('listen = "127.0.0.1:9102"'), {
      listen: { transport: "tcp", hostname: "127.0.0.1", port: 9102 },
      ...none,
    });
    assert.deepEqual(await httpOf('listen = "/run/w.sock"'), {
      listen: { transport: "unix", path: "/run/w.sock" },
      ...none,
    });
    assert.deepEqual(await httpOf(`listen = "0.0.0.0:1"\ntoken = "${TOKEN}"`), {
      listen: { transport: "tcp", hostname: "0.0.0.0", port: 1 },
      token: TOKEN,
      tokenFile: undefined,
    });
    assert.equal((await httpOf('listen = "[::]:1"\ntoken_file = "token"'))?.tokenFile, "/etc/token");
  },
);

for (const address of ["127.0.0.1:9102", "127.9.9.9:9102", "localhost:9102", "[::1]:9102", "/run/w.sock"]) {
  Deno.test(`parseConfig() lets ${address} be without a token`, { permissions: "none" }, async () => {
    assert.deepEqual(await problemsIn(`[http]\nlisten = "${address}"\n${REST}`), []);
  });
}

for (
  const address of [
    "0.0.0.0:9102",
    "10.0.0.1:9102",
    "[::]:9102",
    "worker.example:9102",
    "127.0.0.1.example:9102",
  ]
) {
  Deno.test(`parseConfig() refuses ${address} without a token`, { permissions: "none" }, async () => {
    assert.deepEqual(await problemsIn(`[http]\nlisten = "${address}"\n${REST}`), [
      "fervo.toml:2:1: other machines can reach this address, which shows queues and errors: set token or " +
      'token_file, or listen at "127.0.0.1:9102" or on a socket',
    ]);
    assert.deepEqual(await problemsIn(`[http]\nlisten = "${address}"\ntoken_file = "token"\n${REST}`), []);
  });
}

Deno.test("parseConfig() rejects what in [http] does not fit together", { permissions: "none" }, async () => {
  assert.deepEqual(
    await problemsIn(`[http]\nlisten = "9102"\ntoken = "${TOKEN}"\ntoken_file = "token"\n${REST}`),
    [
      'fervo.toml:2:1: http.listen is "9102": expected host and port such as "127.0.0.1:9102", a socket\'s absolute path such ' +
      'as "/run/fervo-worker.sock", or "" for none',
      "fervo.toml:4:1: set either token or token_file, not both",
    ],
  );
  assert.deepEqual(await problemsIn(`[http]\ntoken_file = "token"\n${REST}`), [
    'fervo.toml:2:1: token_file has no effect without an address: set listen = "127.0.0.1:9102", or remove it',
  ]);
});

Deno.test(
  "parseConfig() shows no token in its messages, wherever it comes from",
  { permissions: "none" },
  async () => {
    const short = "hunter2hunter2";
    for (const value of [short, "${HTTP_TOKEN}", `${TOKEN} and more`]) {
      const [problem, ...more] = await problemsIn(
        `[http]\nlisten = "/run/w.sock"\ntoken = "${value}"\n${REST}`,
        {
          HTTP_TOKEN: short,
        },
      );
      assert.deepEqual(more, []);
      assert.match(problem!, /^fervo\.toml:3:1: http\.token is not usable: expected at least 16 letters/);
      assert.doesNotMatch(problem!, /hunter2|0123/);
    }
  },
);
