/** The client against a real php-fpm: what docs say of it (docs/architecture.md, docs/php-fpm.md) is seen here. */
import assert from "node:assert/strict";
import { createHash } from "node:crypto";
import { systemClock } from "../../../src/core/time/clock.ts";
import { parseAddress } from "../../../src/fastcgi/address.ts";
import { Connection, type FastCgiRequest } from "../../../src/fastcgi/connection.ts";
import { FULL_CONTENT_BYTES } from "../../../src/fastcgi/record.ts";
import { DEFAULT_POOL_OPTIONS, Pool, type PoolOptions } from "../../../src/fastcgi/pool.ts";
import type { FastCgiResponse } from "../../../src/fastcgi/response.ts";
import { pingRequest, readStatus, statusRequest } from "../../../src/fpm/status.ts";
import { eventually } from "../../support/eventually.ts";
import { FakeClock } from "../../support/fake_clock.ts";
import { PhpFpm } from "../../support/php_fpm.ts";

const NEVER = new AbortController().signal;
const TRANSPORTS = ["unix", "tcp"] as const;

function poolOf(fpm: PhpFpm, options: Partial<PoolOptions> = {}, address = fpm.address): Pool {
  return new Pool({ address: parseAddress(address), clock: systemClock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 2,
    ...options,
  });
}

/** A POST of `body` to a script. */
function post(
  script: string,
  o: { params?: [string, string][]; body?: Uint8Array } = {},
): FastCgiRequest {
  const body = o.body ?? new Uint8Array(0);
  return {
    params: [
      ["REQUEST_METHOD", "POST"],
      ["SCRIPT_FILENAME", script],
      ["SCRIPT_NAME", "/job"],
      ["REQUEST_URI", "/queue/1"],
      ["CONTENT_TYPE", "application/octet-stream"],
      ["CONTENT_LENGTH", String(body.length)],
      ...o.params ?? [],
    ],
    body,
  };
}

function textOf(response: FastCgiResponse): string {
  return new TextDecoder().decode(response.body);
}

function sha1(bytes: Uint8Array | string): string {
  return createHash("sha1").update(bytes).digest("hex");
}

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

for (const transport of TRANSPORTS) {
  Deno.test(`Pool.request() runs jobs of every size on php-fpm (${transport})`, async (t) => {
    await using fpm = await PhpFpm.start({ transport, ini: { memory_limit: "256M" } });
    await using pool = poolOf(fpm);

    await t.step("a tiny job: params, body, status, headers, STDERR", async () => {
      const script = await fpm.writeScript(
        "tiny.php",
        `<?php http_response_code(202); header("X-Fervo-Outcome: ack"); error_log("a note");
        echo $_SERVER["FERVO_JOB_ID"], "|", file_get_contents("php://input");`,
      );
      const response = await pool.request(
        post(script, { params: [["FERVO_JOB_ID", "ä-1"]], body: new TextEncoder().encode("payload\0") }),
        NEVER,
      );
      assert.equal(response.status, 202);
      assert.equal(response.headers.get("x-fervo-outcome"), "ack");
      assert.equal(textOf(response), "ä-1|payload\0");
      assert.match(response.stderr, /a note/);
      assert.equal(response.isTruncated, false);
    });

    await t.step("a body of 5 MB arrives byte for byte", async () => {
      const script = await fpm.writeScript(
        "sha1.php",
        `<?php $body = file_get_contents("php://input"); echo strlen($body), " ", sha1($body);`,
      );
      const body = new Uint8Array(5_000_000);
      for (let at = 0; at < body.length; at += 65_536) {
        crypto.getRandomValues(body.subarray(at, at + 65_536));
      }
      const response = await pool.request(post(script, { body }), NEVER);
      assert.equal(textOf(response), `5000000 ${sha1(body)}`);
    });

    await t.step("an answer of 20 MB is cut at the limit and read to its end", async () => {
      const script = await fpm.writeScript("long.php", `<?php echo str_repeat("0123456789", 2_000_000);`);
      const response = await pool.request(post(script), NEVER);
      const { maxResponseBytes } = DEFAULT_POOL_OPTIONS;
      assert.equal(response.isTruncated, true);
      assert.ok(response.body.length < maxResponseBytes && response.body.length > maxResponseBytes - 500);
      assert.equal(
        textOf(response),
        "0123456789".repeat(maxResponseBytes / 10).slice(0, response.body.length),
      );
      assert.equal(pool.stats.idle, 1);
    });

    await t.step("the largest param that fits one record arrives, beside 5 MB of others", async () => {
      const script = await fpm.writeScript(
        "params.php",
        `<?php $all = ""; for ($i = 0; $i < 80; $i++) $all .= $_SERVER["N$i"];
        echo strlen($_SERVER["BIG"]), " ", sha1($_SERVER["BIG"]), " ", strlen($all), " ", sha1($all);`,
      );
      const big = "é".repeat((FULL_CONTENT_BYTES - 5 - "BIG".length) / 2);
      const others = Array.from(
        { length: 80 },
        (_, i): [string, string] => [`N${i}`, String.fromCharCode(33 + i).repeat(62_500)],
      );
      const response = await pool.request(post(script, { params: [["BIG", big], ...others] }), NEVER);
      const all = others.map(([, value]) => value).join("");
      assert.equal(textOf(response), `${2 * big.length} ${sha1(big)} ${all.length} ${sha1(all)}`);
    });

    await t.step(
      "a param of one byte more is refused by its name, and php-fpm never hears of it",
      async () => {
        const ran = `${fpm.directory}/ran`;
        const script = await fpm.writeScript("mark.php", `<?php touch("${ran}");`);
        const big = "x".repeat(FULL_CONTENT_BYTES - 5 - "BIG".length + 1);
        await assert.rejects(pool.request(post(script, { params: [["BIG", big]] }), NEVER), {
          code: "FASTCGI_PARAM_TOO_LARGE",
          message: /^Cannot send the param "BIG": it takes 65529 bytes/,
        });
        assert.equal(textOf(await pool.request(pingRequest(fpm.pingPath), NEVER)), "pong");
        assert.equal(await exists(ran), false);
      },
    );
  });

  Deno.test(`Pool.request() uses one connection for a burst, and one for each request with idleMs 0 (${transport})`, async () => {
    await using fpm = await PhpFpm.start({ transport, children: 1 });
    // A socket's inode names a connection. (The status page's "accepted conn" counts requests, in spite of its name.)
    const script = await fpm.writeScript(
      "sockets.php",
      `<?php foreach (glob("/proc/self/fd/*") as $fd) {
        $target = @readlink($fd); if (str_starts_with((string) $target, "socket:")) echo $target;
      }`,
    );
    for (const [idleMs, connections] of [[10_000, 1], [0, 20]] as const) {
      await using pool = poolOf(fpm, { idleMs });
      const seen = new Set<string>();
      for (let i = 0; i < 20; i++) seen.add(textOf(await pool.request(post(script), NEVER)));
      assert.equal(seen.size, connections);
    }
  });

  Deno.test(`Pool.request() says that php-fpm is stopped, and works again after a restart (${transport})`, async () => {
    await using fpm = await PhpFpm.start({ transport });
    const script = await fpm.writeScript("echo.php", `<?php echo "ok";`);
    await using pool = poolOf(fpm);
    await pool.request(post(script), NEVER);
    await fpm.stop();
    await eventually("the pool has noticed", () => pool.stats.idle === 0);
    await assert.rejects(pool.request(post(script), NEVER), {
      code: "FASTCGI_CONNECT_FAILED",
      message: transport === "unix" ? /no such socket/ : /connection refused/,
    });
    await fpm.restart();
    assert.equal(textOf(await pool.request(post(script), NEVER)), "ok");
  });
}

Deno.test("Pool.request() rejects with FASTCGI_CONNECTION_LOST when the child dies before END_REQUEST", async (t) => {
  await using fpm = await PhpFpm.start({ children: 1 });
  const echo = await fpm.writeScript("echo.php", `<?php echo "ok";`);
  const die = "usleep(1_100_000); posix_kill(getmypid(), 9);";
  const silent = await fpm.writeScript("silent.php", `<?php ${die}`);
  const talking = await fpm.writeScript(
    "talking.php",
    `<?php header("X-Fervo-Outcome: ack"); echo str_repeat("x", 100_000); ob_end_flush(); flush(); ${die}`,
  );

  for (const [what, script] of [["says nothing", silent], ["has said much", talking]] as const) {
    await t.step(`a fresh child that ${what}`, async () => {
      await using pool = poolOf(fpm);
      await assert.rejects(pool.request(post(script), NEVER), { code: "FASTCGI_CONNECTION_LOST" });
      assert.deepEqual([pool.stats.answered, pool.stats.resent, pool.stats.opened], [0, 0, 1]);
    });
    await t.step(`a child with a kept connection that ${what}`, async () => {
      await using pool = poolOf(fpm, { idleMs: 10_000 });
      await pool.request(post(echo), NEVER);
      await assert.rejects(pool.request(post(script), NEVER), { code: "FASTCGI_CONNECTION_LOST" });
      assert.deepEqual([pool.stats.answered, pool.stats.resent, pool.stats.opened], [1, 0, 1]);
    });
  }

  await t.step(
    "a child that dies at once may have left: the job is sent once more, and then is lost",
    async () => {
      const runs = `${fpm.directory}/runs`;
      const script = await fpm.writeScript(
        "at_once.php",
        `<?php file_put_contents("${runs}", "x", FILE_APPEND); posix_kill(getmypid(), 9);`,
      );
      await using pool = poolOf(fpm, { idleMs: 10_000 });
      await pool.request(post(echo), NEVER);
      await assert.rejects(pool.request(post(script), NEVER), { code: "FASTCGI_CONNECTION_LOST" });
      // Whether the first try was within the leaving window is up to the machine; that there is an end is not.
      assert.equal((await Deno.readTextFile(runs)).length, 1 + pool.stats.resent);
      assert.ok(pool.stats.resent <= 1);
    },
  );

  await t.step("php-fpm goes on with a new child", async () => {
    await using pool = poolOf(fpm);
    assert.equal(textOf(await pool.request(post(echo), NEVER)), "ok");
  });
});

Deno.test("Pool.request() loses nothing and runs nothing twice when children leave after pm.max_requests", async () => {
  await using fpm = await PhpFpm.start({ poolLines: ["pm.max_requests = 3"] });
  const runs = `${fpm.directory}/runs`;
  const script = await fpm.writeScript(
    "run.php",
    `<?php file_put_contents("${runs}", $_SERVER["ID"] . "\\n", FILE_APPEND | LOCK_EX); echo $_SERVER["ID"];`,
  );
  // On this clock, every child that leaves does so within the leaving window, however busy the machine is.
  const clock = new FakeClock();
  await using pool = new Pool({ address: parseAddress(fpm.address), clock }, {
    ...DEFAULT_POOL_OPTIONS,
    maxConnections: 2,
  });
  const ids = Array.from({ length: 200 }, (_, i) => String(i));
  const left = ids.slice();
  const slot = async () => {
    for (let id = left.shift(); id !== undefined; id = left.shift()) {
      assert.equal(textOf(await pool.request(post(script, { params: [["ID", id]] }), NEVER)), id);
    }
  };
  await Promise.all([slot(), slot()]);
  const ran = (await Deno.readTextFile(runs)).trim().split("\n");
  assert.deepEqual(ran.map(Number).sort((a, b) => a - b).map(String), ids);
  assert.equal(pool.stats.answered, 200);
  assert.ok(pool.stats.opened >= 67, `only ${pool.stats.opened} connections for 200 requests of 3 a child`);
});

Deno.test("Pool.request() rejects with FASTCGI_OVERLOADED when php-fpm's unix listen queue is full", async () => {
  await using fpm = await PhpFpm.start({ children: 1, poolLines: ["listen.backlog = 1"] });
  const [started, go] = [`${fpm.directory}/started`, `${fpm.directory}/go`];
  const script = await fpm.writeScript(
    "wait.php",
    `<?php touch("${started}"); while (!file_exists("${go}")) { usleep(5_000); clearstatcache(); } echo "done";`,
  );
  await using pool = poolOf(fpm, { maxConnections: 20 });
  const running = pool.request(post(script), NEVER);
  await eventually("the job has started", () => exists(started));
  const queued: Connection[] = [];
  const address = parseAddress(fpm.address);
  const fill = async () => {
    for (;;) queued.push(await Connection.open(address, systemClock, DEFAULT_POOL_OPTIONS));
  };
  await assert.rejects(fill(), { code: "FASTCGI_OVERLOADED" });
  assert.ok(queued.length >= 1, "the queue holds something");
  await assert.rejects(pool.request(post(script), NEVER), {
    name: "FastCgiError",
    code: "FASTCGI_OVERLOADED",
    message: `Cannot connect to php-fpm at "${fpm.address}": its listen queue is full`,
  });
  for (const connection of queued) connection.destroy();
  await Deno.writeTextFile(go, "");
  assert.equal(textOf(await running), "done");
});

Deno.test("Pool.request() ends a running request on abort; PHP itself goes on", async () => {
  await using fpm = await PhpFpm.start({ children: 1 });
  const [started, go, ended] = ["started", "go", "ended"].map((name) => `${fpm.directory}/${name}`);
  const script = await fpm.writeScript(
    "wait.php",
    `<?php ignore_user_abort(true); touch("${started}");
    while (!file_exists("${go}")) { usleep(5_000); clearstatcache(); } touch("${ended}");`,
  );
  await using pool = poolOf(fpm);
  const controller = new AbortController();
  const running = pool.request(post(script), controller.signal);
  await eventually("the job has started", () => exists(started!));
  controller.abort(new Error("job timeout"));
  await assert.rejects(running, { message: "job timeout" });
  assert.equal(pool.stats.busy, 0);
  await Deno.writeTextFile(go!, "");
  await eventually("the script has ended", () => exists(ended!));
});

Deno.test("php-fpm's answers to scripts that fail look as the outcome rules expect", async (t) => {
  await using fpm = await PhpFpm.start();
  await using pool = poolOf(fpm);
  const run = async (code: string) => {
    const script = await fpm.writeScript(`${sha1(code)}.php`, code);
    return await pool.request(post(script), NEVER);
  };

  await t.step("a script that is not there: 404 with a body of its own", async () => {
    const response = await pool.request(post(`${fpm.directory}/none.php`), NEVER);
    assert.equal(response.status, 404);
    assert.equal(textOf(response), "File not found.\n");
    assert.match(response.stderr, /Primary script unknown/);
  });

  await t.step("a script that is not called .php: 403 with a body of its own", async () => {
    const response = await pool.request(post(await fpm.writeScript("job.txt", `<?php echo 1;`)), NEVER);
    assert.equal(response.status, 403);
    assert.equal(textOf(response), "Access denied.\n");
  });

  await t.step("exit(3): status 200, nothing else, appStatus 0", async () => {
    const response = await run(`<?php exit(3);`);
    assert.deepEqual([response.status, textOf(response), response.appStatus], [200, "", 0]);
    assert.equal(response.stderr, "");
  });

  await t.step("a fatal error: 500, its text on STDERR, appStatus 0", async () => {
    const response = await run(`<?php undefined_function();`);
    assert.deepEqual([response.status, textOf(response), response.appStatus], [500, "", 0]);
    assert.match(response.stderr, /PHP Fatal error: {2}Uncaught Error: Call to undefined function/);
  });

  await t.step("a fatal error after output was flushed: 200", async () => {
    const response = await run(`<?php echo "half"; ob_end_flush(); flush(); throw new Exception("late");`);
    assert.equal(response.status, 200);
    assert.equal(textOf(response), "half");
    assert.match(response.stderr, /Uncaught Exception: late/);
  });

  await t.step("memory that runs out: 500", async () => {
    const response = await run(`<?php ini_set("memory_limit", "8M"); $a = str_repeat("x", 64_000_000);`);
    assert.equal(response.status, 500);
    assert.match(response.stderr, /Allowed memory size/);
  });

  await t.step("a warning: 200, its text on STDERR", async () => {
    const response = await run(`<?php echo "ok"; trigger_error("careful", E_USER_WARNING);`);
    assert.deepEqual([response.status, textOf(response)], [200, "ok"]);
    assert.match(response.stderr, /PHP Warning: {2}careful/);
  });

  await t.step("a script that does not compile: 500", async () => {
    const response = await run(`<?php this is not PHP`);
    assert.equal(response.status, 500);
    assert.match(response.stderr, /PHP Parse error/);
  });
});

Deno.test("a fatal error with display_errors = on looks like success: status 200", async () => {
  await using fpm = await PhpFpm.start({ ini: { display_errors: "on" } });
  await using pool = poolOf(fpm);
  const script = await fpm.writeScript("fatal.php", `<?php undefined_function();`);
  const response = await pool.request(post(script), NEVER);
  assert.equal(response.status, 200);
  assert.match(textOf(response), /Fatal error/);
});

for (const transport of TRANSPORTS) {
  Deno.test(`readStatus() reads the page of a real php-fpm, whose every child is busy (${transport})`, async () => {
    await using fpm = await PhpFpm.start({ transport, children: 2, statusListen: true });
    await using statusPool = poolOf(fpm, {}, fpm.statusAddress);
    const status = async () => readStatus(await statusPool.request(statusRequest(fpm.statusPath), NEVER));
    let page = await status();
    await eventually("both children are idle", async () => {
      page = await status();
      return page.idleProcesses === 2 && page.activeProcesses === 0;
    });
    const { processes, startTimeS, uptimeS, ...counts } = page;
    assert.deepEqual(counts, {
      pool: fpm.poolName,
      processManager: "static",
      idleProcesses: 2,
      activeProcesses: 0,
      totalProcesses: 2,
      maxChildrenReached: 0,
      listenQueue: 0,
    });
    assert.deepEqual(processes.map(({ isBusy }) => isBusy), [false, false]);
    assert.ok(Math.abs(startTimeS + uptimeS - Date.now() / 1_000) < 10);

    const go = `${fpm.directory}/go`;
    const script = await fpm.writeScript(
      "wait.php",
      `<?php while (!file_exists("${go}")) { usleep(5_000); clearstatcache(); } echo "done";`,
    );
    await using pool = poolOf(fpm, { maxConnections: 3 });
    const running = [1, 2, 3].map(() => pool.request(post(script), NEVER));
    await eventually("both children are busy", async () => (await status()).activeProcesses === 2);
    if (transport === "tcp") {
      await eventually("one request is queued", async () => (await status()).listenQueue === 1);
    } else {
      // The one thing that the page does not know: fpm_process_ctl.c reads the queue of inet sockets only.
      assert.equal((await status()).listenQueue, 0);
    }
    await Deno.writeTextFile(go, "");
    assert.deepEqual((await Promise.all(running)).map(textOf), ["done", "done", "done"]);
  });
}

Deno.test("pingRequest() and statusRequest() are answered by the pool itself; other paths are refused", async () => {
  await using fpm = await PhpFpm.start();
  await using pool = poolOf(fpm);
  const ping = await pool.request(pingRequest(fpm.pingPath), NEVER);
  assert.deepEqual([ping.status, textOf(ping)], [200, "pong"]);
  assert.equal(readStatus(await pool.request(statusRequest(fpm.statusPath), NEVER)).pool, fpm.poolName);
  const wrong = await pool.request(statusRequest("/wrong"), NEVER);
  assert.throws(() => readStatus(wrong), {
    code: "FASTCGI_PROTOCOL",
    message: /^Cannot read the status page: php-fpm answered (403|404) with "/,
  });
});

Deno.test("PhpFpm.reload() replaces the children and keeps pid and address; the next request just works", async () => {
  await using fpm = await PhpFpm.start({ children: 1 });
  const script = await fpm.writeScript("pid.php", `<?php echo getmypid();`);
  await using pool = poolOf(fpm);
  const before = textOf(await pool.request(post(script), NEVER));
  const { pid } = fpm;
  await fpm.reload();
  assert.equal(fpm.pid, pid);
  assert.notEqual(textOf(await pool.request(post(script), NEVER)), before);
});

Deno.test("PhpFpm leaves no folder and no process behind, also when its master was killed", async () => {
  let directory: string;
  let child: number;
  {
    await using fpm = await PhpFpm.start({ children: 1 });
    directory = fpm.directory;
    assert.equal((await Deno.stat(directory)).mode! & 0o777, 0o700);
    await using pool = poolOf(fpm);
    const script = await fpm.writeScript("pid.php", `<?php echo getmypid();`);
    child = Number(textOf(await pool.request(post(script), NEVER)));
    assert.ok((await commandLine(child)).includes(fpm.poolName));
    Deno.kill(fpm.pid, "SIGKILL");
  }
  assert.equal(await exists(directory), false);
  await eventually("the child is gone", async () => (await commandLine(child)) === "");
});

Deno.test("PhpFpm.start() says why php-fpm did not start", async () => {
  await assert.rejects(
    PhpFpm.start({ poolLines: ["no_such_setting = 1"] }),
    /php-fpm did not start:\n(.|\n)*unknown entry 'no_such_setting'/,
  );
});

/** Empty when there is no such process, or nothing of it but its exit status. */
async function commandLine(pid: number): Promise<string> {
  return await Deno.readTextFile(`/proc/${pid}/cmdline`).catch(() => "");
}

for (const when of ["before it reads STDIN", "after it has read STDIN", "without reading STDIN"]) {
  Deno.test(`Connection gets the whole answer of a job that is silent for an hour over TCP, ${when}`, async () => {
    await using fpm = await PhpFpm.start({ transport: "tcp", children: 1 });
    const read = "$read = sha1(file_get_contents('php://input'));";
    const script = await fpm.writeScript(
      "job.php",
      `<?php $read = sha1('');
      ${when.startsWith("after") ? read : ""}
      touch(__DIR__ . '/began');
      while (!file_exists(__DIR__ . '/go')) usleep(1000);
      ${when.startsWith("before") ? read : ""}
      echo $read, str_repeat('x', 3000000);`,
    );
    const clock = new FakeClock();
    const options = { ...DEFAULT_POOL_OPTIONS, maxResponseBytes: 4_000_000, keepaliveMs: 30_000 };
    const body = new Uint8Array(100_000).fill(0x61);
    const connection = await Connection.open(parseAddress(fpm.address), clock, options);
    const answer = connection.request(post(script, { body }), true, NEVER);
    await eventually("it runs", () => exists(`${fpm.directory}/began`));
    for (let ms = 0; ms < 3_600_000; ms += 15_000) await clock.advance(15_000);
    await Deno.writeTextFile(`${fpm.directory}/go`, "");
    const text = textOf(await answer);
    assert.equal(text.length, 40 + 3_000_000);
    assert.equal(text.slice(0, 40), sha1(when.startsWith("without") ? "" : body));
    assert.equal(connection.isReusable, false);
    // php-fpm waits for the next request on it: what it has left unread is none.
    connection.destroy();
    await Deno.remove(`${fpm.directory}/go`);
    await using pool = poolOf(fpm);
    assert.equal((await pool.request(pingRequest(fpm.pingPath), NEVER)).status, 200);
    assert.doesNotMatch(await fpm.log(), /WARNING|ERROR/);
  });
}
