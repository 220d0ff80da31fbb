import assert from "node:assert/strict";
import { systemClock } from "../../../src/core/time/clock.ts";
import { FpmControl } from "../../../src/fpm/control.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { DEFAULT_POOL_OPTIONS, Pool } from "../../../src/fastcgi/pool.ts";
import { isProcessThere } from "../../../src/system/proc.ts";
import { eventually } from "../../support/eventually.ts";
import { PhpFpm } from "../../support/php_fpm.ts";
import { ScriptedServer } from "../../support/scripted_server.ts";

const NEVER = new AbortController().signal;
/** Tells its process id in a file, and runs until it is ended. */
const RUN_ON = `<?php file_put_contents(__DIR__ . '/pid', getmypid()); while (true) usleep(1000);`;

/** A php-fpm with a request under way for each of `uris`; `pids` are the children that run them. */
async function setUp(script: string, uris: readonly string[]) {
  await using opened = new AsyncDisposableStack();
  const fpm = opened.use(await PhpFpm.start({ children: 2, statusListen: true }));
  const pool = opened.use(
    new Pool({ address: parseAddress(fpm.address), clock: systemClock }, {
      ...DEFAULT_POOL_OPTIONS,
      maxConnections: 2,
    }),
  );
  const path = await fpm.writeScript("job.php", script);
  const control = fpm.control();
  opened.defer(() => fpm.stop());
  const pids: number[] = [];
  const requests: Promise<unknown>[] = [];
  for (const uri of uris) {
    const params = [["REQUEST_METHOD", "POST"], ["SCRIPT_FILENAME", path], ["SCRIPT_NAME", uri]] as const;
    requests.push(pool.request({ params, body: new Uint8Array(0) }, NEVER).catch((error) => error));
    await eventually(`"${uri}" runs`, async () => {
      const pid = Number(await Deno.readTextFile(`${fpm.directory}/pid`).catch(() => "0"));
      if (pid === 0 || pids.includes(pid)) return false;
      pids.push(pid);
      return true;
    });
  }
  const resources = opened.move();
  return { fpm, control, pids, requests, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}

function pidsOf(status: { processes: readonly { pid: number }[] } | undefined): number[] {
  return status!.processes.map(({ pid }) => pid);
}

Deno.test("FpmControl.endChild() ends the child that runs the request, and no other", async () => {
  await using t = await setUp(RUN_ON, ["/mail/1", "/mail/2"]);
  assert.equal(await t.control.isRunning("/mail/2"), true);
  assert.equal(await t.control.endChild("/mail/2"), t.pids[1]);
  assert.match(String(await t.requests[1]), /Lost the connection/);
  assert.equal(await t.control.isRunning("/mail/2"), false);
  assert.equal(await t.control.isRunning("/mail/1"), true);
  const left = pidsOf(await t.control.status());
  assert.deepEqual([left.includes(t.pids[0]!), left.includes(t.pids[1]!)], [true, false]);
});

Deno.test("FpmControl.endChild() kills a child that SIGTERM does not end", async () => {
  // A stopped process takes no notice of SIGTERM.
  await using t = await setUp(RUN_ON, ["/mail/1"]);
  Deno.kill(t.pids[0]!, "SIGSTOP");
  assert.equal(await t.control.endChild("/mail/1"), t.pids[0]);
  assert.match(String(await t.requests[0]), /Lost the connection/);
});

Deno.test("FpmControl.endChild() finds a request by a uri as long as php-fpm shows them", async () => {
  const uri = `/${"q".repeat(123)}/17`;
  await using t = await setUp(RUN_ON, [uri]);
  assert.equal(await t.control.endChild(uri), t.pids[0]);
});

Deno.test("FpmControl.endChild() ends nobody when php-fpm shows the uri cut, as another one may begin with it", async () => {
  const queue = `/${"q".repeat(128)}`;
  await using t = await setUp(RUN_ON, [`${queue}/17`]);
  assert.equal(await t.control.isRunning(`${queue}/18`), undefined);
  await assert.rejects(t.control.endChild(`${queue}/18`), {
    code: "FPM_KILL_FAILED",
    message: /^Cannot tell which PHP process runs "\/q+\/18"/,
  });
  assert.ok(pidsOf(await t.control.status()).includes(t.pids[0]!));
});

Deno.test("FpmControl.endChild() leaves everybody alone when no child runs the request any more", async () => {
  await using t = await setUp(`<?php file_put_contents(__DIR__ . '/pid', getmypid());`, ["/mail/1"]);
  await t.requests[0];
  const before = pidsOf(await t.control.status());
  await eventually("the child is idle", async () => await t.control.isRunning("/mail/1") === false);
  assert.equal(await t.control.endChild("/mail/1"), undefined);
  assert.deepEqual(pidsOf(await t.control.status()), before);
});

/** A control of a server whose status page is what `pageAt` says, by the connection's number; undefined hangs up. */
async function scripted(pageAt: (index: number) => Partial<typeof PAGE> | undefined) {
  const server = await ScriptedServer.start(async (peer) => {
    const page = pageAt(peer.index);
    if (page === undefined) return;
    await peer.serve(`Content-Type: application/json\r\n\r\n${JSON.stringify({ ...PAGE, ...page })}`);
  });
  const control = new FpmControl({ clock: systemClock }, {
    address: parseAddress(server.address),
    statusAddress: undefined,
    statusPath: "/status",
    pingPath: undefined,
  });
  return { control, [Symbol.asyncDispose]: () => server[Symbol.asyncDispose]() };
}

const PAGE = {
  "pool": "www",
  "process manager": "static",
  "start time": 1,
  "start since": 1,
  "listen queue": 0,
  "idle processes": 0,
  "active processes": 1,
  "max children reached": 0,
  "processes": [] as unknown[],
};

function running(pid: number, uri: string) {
  return { "processes": [{ pid, "state": "Running", "request uri": uri, "request duration": 1 }] };
}

/** A process that shows itself as a child of the pool. */
function fakeChild(): Deno.ChildProcess {
  return new Deno.Command("bash", { args: ["-c", 'exec -a "php-fpm: pool www" sleep 600'] }).spawn();
}

async function looksLikeAChild({ pid }: Deno.ChildProcess): Promise<void> {
  const isThere = async () =>
    (await Deno.readTextFile(`/proc/${pid}/cmdline`)).startsWith("php-fpm: pool www");
  await eventually("the process has its name", isThere);
}

Deno.test("FpmControl.endChild() ends no process that is not a child of that pool on this machine", async () => {
  const stranger = new Deno.Command("sleep", { args: ["600"] }).spawn();
  await using t = await scripted(() => running(stranger.pid, "/mail/1"));
  await assert.rejects(t.control.endChild("/mail/1"), {
    code: "FPM_KILL_FAILED",
    message: new RegExp(
      `^Cannot end the PHP process "${stranger.pid}" of .* that process is not a php-fpm child of the pool`,
    ),
  });
  stranger.kill("SIGKILL");
  assert.equal((await stranger.status).signal, "SIGKILL");
});

Deno.test("FpmControl.endChild() leaves a child alone that has begun another job while it was looked at", async () => {
  const child = fakeChild();
  await looksLikeAChild(child);
  await using t = await scripted((index) => running(child.pid, index === 0 ? "/mail/1" : "/mail/2"));
  assert.equal(await t.control.endChild("/mail/1"), undefined);
  child.kill("SIGKILL");
  assert.equal((await child.status).signal, "SIGKILL");
});

Deno.test("FpmControl.endChild() has ended the child also where the page cannot be read afterwards", async () => {
  const child = fakeChild();
  await looksLikeAChild(child);
  await using t = await scripted((index) => index < 2 ? running(child.pid, "/mail/1") : undefined);
  assert.equal(await t.control.endChild("/mail/1"), child.pid);
  assert.equal((await child.status).signal, "SIGTERM");
});

Deno.test("FpmControl.hasLeftWithin() blames a restart that nobody saw for no later loss", async () => {
  const pages = [{ "start time": 1, "start since": 500 }, { "start time": 401, "start since": 100 }];
  await using t = await scripted((index) => pages[Math.min(index, 1)]);
  await t.control.status();
  assert.equal(await t.control.hasLeftWithin(60_000), false);
  assert.equal(await t.control.hasLeftWithin(200_000), true);
});

Deno.test("FpmControl.hasLeftWithin() looks once more: a child that is left may answer while php-fpm leaves", async () => {
  const pages = [{ "start time": 1, "start since": 500 }, { "start time": 502, "start since": 0 }];
  await using t = await scripted((index) => pages[index < 2 ? 0 : 1]);
  await t.control.status();
  assert.equal(await t.control.hasLeftWithin(100), true);
});

Deno.test("FpmControl.hasLeftWithin() tells by its children a php-fpm that has started again in the second of its start", async () => {
  // When that second is over, nothing else on the page tells the one from the other.
  const page = (pids: readonly number[], since: number) => ({
    "processes": pids.flatMap((pid) => running(pid, "/mail/1").processes),
    "start time": 500,
    "start since": since,
  });
  // A child that is being started has the id 0.
  for (const [pids, hasLeft] of [[[13, 0], true], [[13, 12], true], [[12, 11], false]] as const) {
    await using t = await scripted((index) => index === 0 ? page([11, 0], 0) : page(pids, 1));
    await t.control.status();
    assert.equal(await t.control.hasLeftWithin(300), hasLeft);
  }
});

Deno.test("FpmControl.hasLeftWithin() tells a reload and a stop from a child that died", async () => {
  await using fpm = await PhpFpm.start({ children: 2, statusListen: true });
  const control = fpm.control();
  const blind = fpm.control({ hasStatusPage: false });
  await eventually("its first second is over", async () => (await control.status())!.uptimeS > 0);
  const pid = pidsOf(await control.status())[0]!;
  Deno.kill(pid, "SIGKILL");
  // Until then it may accept a connection, and lose it.
  await eventually("the child is gone", () => !isProcessThere(pid));
  assert.deepEqual([await control.hasLeftWithin(60_000), await blind.hasLeftWithin(60_000)], [
    false,
    undefined,
  ]);
  await fpm.reload();
  assert.equal(await control.hasLeftWithin(60_000), true);
  await eventually("its first second is over", async () => (await control.status())!.uptimeS > 0);
  assert.equal(await control.hasLeftWithin(0), false);
  assert.equal(await control.hasLeftWithin(60_000), true);
  await fpm.stop();
  assert.deepEqual([await control.hasLeftWithin(0), await blind.hasLeftWithin(0)], [true, true]);
});

Deno.test("FpmControl.hasLeftWithin() asks at the jobs' own address, too, where the status page has one of its own", async () => {
  await using fpm = await PhpFpm.start({ children: 1, statusListen: true });
  const statusAddress = parseAddress(fpm.statusAddress);
  const control = (address: string) =>
    new FpmControl({ clock: systemClock }, {
      address: parseAddress(address),
      statusAddress,
      statusPath: fpm.statusPath,
      pingPath: undefined,
    });
  // A proxy, or listen.allowed_clients.
  await using closer = await ScriptedServer.start((peer) => peer.close());
  const [shut, open] = [control(closer.address), control(fpm.address)];
  // The page tells whole seconds.
  await eventually("php-fpm is older than a second or two", async () => (await open.status())!.uptimeS > 2);
  assert.deepEqual([await shut.hasLeftWithin(0), await open.hasLeftWithin(0)], [true, false]);
});
