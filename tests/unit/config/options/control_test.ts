import assert from "node:assert/strict";
import { findControlSocket } from "../../../../src/config/options/control.ts";
import { parseConfig } from "../../../../src/config/load.ts";
import { BROKER, CONSUMER, FPM, NO_ENVIRONMENT, problemsIn } from "../support.ts";

const REST = BROKER + FPM + CONSUMER;

/** What is written, the file's path, and the socket. */
const SOCKETS: readonly [written: string, source: string, socket: string | undefined][] = [
  ["", "/srv/app/mail.toml", "/srv/app/mail.sock"],
  ['socket = "auto"', "/srv/app/mail.toml", "/srv/app/mail.sock"],
  ["", "/srv/app/worker.conf", "/srv/app/worker.conf.sock"],
  ["", "/etc/fervo-worker/fervo-worker.toml", "/run/fervo-worker/fervo-worker.sock"],
  ["", "/etcetera/mail.toml", "/etcetera/mail.sock"],
  ['socket = "run/w.sock"', "/srv/app/mail.toml", "/srv/app/run/w.sock"],
  ['socket = "/run/w.sock"', "/etc/mail.toml", "/run/w.sock"],
  ['socket = ""', "/etc/mail.toml", undefined],
];

for (const [written, source, socket] of SOCKETS) {
  Deno.test(
    `parseConfig() puts the control socket of "${source}" with ${
      written || "nothing"
    } at ${socket}, and findControlSocket() agrees`,
    async () => {
      const text = `[control]\n${written}\n${REST}`;
      assert.equal((await parseConfig(text, source, NO_ENVIRONMENT)).controlSocket, socket);
      assert.equal(findControlSocket(text, source, NO_ENVIRONMENT), socket);
    },
  );
}

Deno.test("findControlSocket() finds the socket of a file that has mistakes, or that is no TOML at all", () => {
  const source = "/srv/app/mail.toml";
  const env = (name: string) => name === "N" ? "7" : undefined;
  const find = (text: string) => findControlSocket(text, source, { env });
  assert.equal(find('[control]\nsocket = "/run/w${N}.sock"\n[brokers]\nx = "${NONE}"'), "/run/w7.sock");
  assert.equal(find("[control]\nsocket = 7"), "/srv/app/mail.sock");
  assert.equal(find('[control]\nsocket = "/run/w.sock"\n[['), "/srv/app/mail.sock");
});

Deno.test("parseConfig() refuses a control socket that is no text, and names near keys", async () => {
  assert.deepEqual(await problemsIn(`[control]\nsocket = 1\n${REST}`), [
    'fervo.toml:2:1: control.socket is 1: expected a socket\'s path, "auto", or "" for none',
  ]);
  assert.deepEqual(await problemsIn(`[control]\nsokcet = "x"\n${REST}`), [
    'fervo.toml:2:1: unknown key "sokcet" in [control]; did you mean "socket"?',
  ]);
});
