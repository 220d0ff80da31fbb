import assert from "node:assert/strict";
import { localGuard, tokenGuard } from "../../../src/http/guard.ts";

const TOKEN = "0123456789abcdef";

function requestWith(headers: Record<string, string>): Request {
  return new Request("http://127.0.0.1/metrics", { headers });
}

Deno.test("tokenGuard() lets in who shows the token, and nobody else", { permissions: "none" }, () => {
  const guard = tokenGuard(TOKEN);
  for (const scheme of ["Bearer", "bearer", "BEARER"]) {
    assert.equal(guard(requestWith({ authorization: `${scheme} ${TOKEN}` })), undefined);
  }
  for (
    const shown of [
      `Bearer ${TOKEN}x`,
      `Bearer ${TOKEN.slice(1)}`,
      TOKEN,
      "Bearer",
      `Basic ${TOKEN}`,
    ]
  ) {
    assert.equal(guard(requestWith({ authorization: shown }))?.status, 401, shown);
  }
  const refusal = guard(requestWith({}));
  assert.deepEqual([refusal?.status, refusal?.headers.get("www-authenticate")], [401, "Bearer"]);
});

/** Deno's Request does not let a script set Host. */
function askedFor(host: string | undefined): Request {
  return { headers: { get: (name: string) => name === "host" ? host ?? null : null } } as unknown as Request;
}

Deno.test("localGuard() lets in who asks for an address or localhost, and no page with a name of its own", {
  permissions: "none",
}, () => {
  for (const host of ["127.0.0.1", "127.0.0.1:9102", "localhost:9102", "[::1]:9102", "[::1]"]) {
    assert.equal(localGuard(askedFor(host)), undefined, host);
  }
  for (const host of ["evil.example", "evil.example:9102", "127.0.0.1.evil.example", "", undefined]) {
    assert.equal(localGuard(askedFor(host))?.status, 403, String(host));
  }
});
