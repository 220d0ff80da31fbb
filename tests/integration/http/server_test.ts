import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { FervoError } from "../../../src/core/errors.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { type Endpoint, HttpServer } from "../../../src/http/server.ts";
import { ask, connect } from "../../support/http.ts";
import { privateLoopback } from "../../support/php_fpm.ts";
import { soon } from "../../support/soon.ts";

const TOKEN = "0123456789abcdef";
const HELLO: Record<string, Endpoint> = { "/hello": () => new Response("hello\n") };

function start(
  at: string,
  options: { token?: string; tokenFile?: string; open?: Record<string, Endpoint> } = {},
  endpoints = HELLO,
): Promise<HttpServer> {
  return HttpServer.start({
    clock: systemClock,
    endpoints,
    ...(options.open && { open: options.open }),
    onUnavailable: (error) => assert.fail(String(error)),
  }, {
    listen: parseAddress(at),
    token: options.token,
    tokenFile: options.tokenFile,
  });
}

async function tempFolder(): Promise<{ path: string } & AsyncDisposable> {
  const path = await Deno.makeTempDir({ prefix: "fervo-http-" });
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

const loopback = () => `${privateLoopback()}:9102`;

Deno.test("HttpServer answers GET and HEAD of the paths it was given, and nothing may be kept", async () => {
  const at = loopback();
  await using _server = await start(at);
  const { status, headers, body } = await ask(at, "/hello?x=1");
  assert.deepEqual([status, body], [200, "hello\n"]);
  assert.deepEqual([headers.get("cache-control"), headers.get("x-content-type-options")], [
    "no-store",
    "nosniff",
  ]);
  const head = await ask(at, "/hello", { method: "HEAD" });
  assert.deepEqual([head.status, head.body, head.headers.get("content-length")], [200, "", "6"]);
});

Deno.test("HttpServer refuses other paths and other methods", async () => {
  const at = loopback();
  await using _server = await start(at);
  for (const path of ["/", "/hello/", "/HELLO", "/toString", "/__proto__", "/../hello%2f"]) {
    assert.equal((await ask(at, path)).status, 404, path);
  }
  for (const method of ["POST", "DELETE", "OPTIONS", "PUT"]) {
    const { status, headers } = await ask(at, "/hello", { method });
    assert.deepEqual([status, headers.get("allow")], [405, "GET, HEAD"], method);
  }
});

Deno.test("HttpServer lets nobody in without the token, and says nothing of what is there", async () => {
  const at = loopback();
  await using _server = await start(at, { token: TOKEN });
  const shown = { authorization: `Bearer ${TOKEN}` };
  assert.equal((await ask(at, "/hello", { headers: shown })).status, 200);
  assert.equal((await ask(at, "/hello", { headers: { authorization: `bearer ${TOKEN}` } })).status, 200);
  // With a token the name does not matter: a page in a browser does not know the token.
  assert.equal((await ask(at, "/hello", { headers: { ...shown, host: "worker.example" } })).status, 200);
  for (const path of ["/hello", "/nothing"]) {
    const { status, body } = await ask(at, path, { headers: { authorization: "Bearer 0123456789abcdeX" } });
    assert.deepEqual([status, body], [401, "unauthorized\n"]);
    assert.equal((await ask(at, path)).status, 401);
  }
});

Deno.test("HttpServer tells who has no token what is fit for everybody, and who has one all of it", async () => {
  const at = loopback();
  await using _server = await start(at, { token: TOKEN, open: { "/hello": () => new Response("open\n") } });
  assert.equal((await ask(at, "/hello")).body, "open\n");
  const shown = { authorization: `Bearer ${TOKEN}` };
  assert.notEqual((await ask(at, "/hello", { headers: shown })).body, "open\n");
  assert.equal((await ask(at, "/nothing")).status, 401);
});

Deno.test("HttpServer reads the token from a file, without its line end", async () => {
  await using folder = await tempFolder();
  const [at, tokenFile] = [loopback(), `${folder.path}/token`];
  await Deno.writeTextFile(tokenFile, `${TOKEN}\n`);
  await using _server = await start(at, { tokenFile });
  assert.equal((await ask(at, "/hello", { headers: { authorization: `Bearer ${TOKEN}` } })).status, 200);
  assert.equal((await ask(at, "/hello")).status, 401);
});

Deno.test("HttpServer does not start with a token file that is missing or holds no token, and does not show it", async () => {
  await using folder = await tempFolder();
  const tokenFile = `${folder.path}/token`;
  const refusal = async () => {
    const error = await start(loopback(), { tokenFile }).then(() => undefined, (error) => error);
    assert.ok(error instanceof FervoError && error.code === "LISTEN_FAILED", String(error));
    assert.ok(error.message.includes(`token_file "${tokenFile}"`));
    return error.message;
  };
  assert.match(await refusal(), /^Cannot read/);
  for (const text of ["", "\n", "hunter2", "hunter2 hunter2 hunter2", `${TOKEN}\nhunter2`]) {
    await Deno.writeTextFile(tokenFile, text);
    assert.doesNotMatch(await refusal(), /hunter2/);
  }
});

Deno.test("HttpServer without a token refuses who asks by a name, as a page in a browser would", async () => {
  const at = loopback();
  await using _server = await start(at);
  assert.equal((await ask(at, "/hello", { headers: { host: "evil.example:9102" } })).status, 403);
  assert.equal((await ask(at, "/hello", { headers: { host: "localhost:9102" } })).status, 200);
});

Deno.test("HttpServer makes a socket that is its owner's alone, and takes it away at the end", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/worker.sock`;
  const umask = Deno.umask();
  {
    await using _server = await start(path);
    const { mode, isSocket } = await Deno.lstat(path);
    assert.deepEqual([isSocket, mode! & 0o777], [true, 0o600]);
    assert.equal((await ask(path, "/hello")).body, "hello\n");
  }
  assert.deepEqual([...Deno.readDirSync(folder.path)], []);
  assert.equal(Deno.umask(), umask, "other files of the worker are made as before");
});

Deno.test("HttpServer replaces a socket that nobody listens on, as a killed worker leaves it", async () => {
  await using folder = await tempFolder();
  const path = `${folder.path}/worker.sock`;
  const left = new Deno.Command("perl", {
    args: ["-MIO::Socket::UNIX", "-e", "IO::Socket::UNIX->new(Local => shift, Listen => 1) or die", path],
  });
  assert.ok((await left.output()).success);
  assert.ok((await Deno.lstat(path)).isSocket);
  await using _server = await start(path);
  assert.equal((await ask(path, "/hello")).status, 200);
});

Deno.test("HttpServer does not take an address from another worker, nor a file's place", async () => {
  await using folder = await tempFolder();
  const refused = async (at: string) => {
    const error = await start(at).then(() => undefined, (error) => error);
    assert.ok(error instanceof FervoError && error.code === "LISTEN_FAILED", String(error));
    assert.ok(error.message.startsWith(`Cannot listen at "${at}" ([http]): it is in use`), error.message);
  };
  for (const at of [loopback(), `${folder.path}/worker.sock`]) {
    await using _server = await start(at);
    await refused(at);
    assert.equal((await ask(at, "/hello")).status, 200, "the first one goes on");
  }
  const file = `${folder.path}/data`;
  await Deno.writeTextFile(file, "precious");
  await refused(file);
  assert.equal(await Deno.readTextFile(file), "precious");
  await assert.rejects(start(`${folder.path}/none/worker.sock`), /no such folder; make it/);
});

Deno.test("HttpServer.close() ends at once, whoever is connected and whatever is asked", async () => {
  const at = loopback();
  const asked = Promise.withResolvers<void>();
  const never = new Promise<Response>(() => {});
  const server = await start(at, {}, {
    "/slow": () => {
      asked.resolve();
      return never;
    },
  });
  using half = await connect(at);
  await half.write(new TextEncoder().encode("GET /slow HT"));
  const slow = ask(at, "/slow").catch(() => undefined);
  await asked.promise;
  await soon("the server has closed", server.close());
  await server.close();
  await slow;
});

Deno.test("HttpServer says no more of a fault than that there is one", async () => {
  const at = loopback();
  await using _server = await start(at, {}, {
    "/fault": () => {
      throw new Error("secret");
    },
  });
  const { status, body } = await ask(at, "/fault");
  assert.deepEqual([status, body], [500, "internal error\n"]);
});
