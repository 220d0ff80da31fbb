/**
 * packaging/Dockerfile, built by buildah on a base of debootstrap, and run by runc. Slow, as the base is installed package by package the
 * first time, and copied for each layer.
 */
import assert from "node:assert/strict";
import { fervoWorkerPath } from "../support/fervo_worker.ts";
import { eventually } from "../support/eventually.ts";
import { PhpFpm } from "../support/php_fpm.ts";
import { runProgram } from "../support/run_program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const BASE = `${ROOT}.tools/debian-base.tar`;
const UID = 10_001;

async function run(program: string, ...args: string[]): Promise<string> {
  const { success, said } = await runProgram(program, ...args);
  assert.ok(success, `${program} ${args.join(" ")}: ${said}`);
  return said;
}

/** A Debian with nothing but what every Debian has, as an archive; made once. */
async function debianBase(): Promise<void> {
  if (await Deno.stat(BASE).then(() => true, () => false)) return;
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-base-" });
  try {
    await run("debootstrap", "--variant=minbase", "bookworm", folder);
    const without = ["dev", "proc", "sys", "var/cache/apt", "var/lib/apt/lists"].map((name) =>
      `--exclude=./${name}/*`
    );
    await run("tar", "-C", folder, ...without, "-cf", `${BASE}.part`, ".");
    await Deno.rename(`${BASE}.part`, BASE);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

/** The image of the binary of these tests, unpacked; gone with its scope. */
async function image(build: AsyncDisposableStack, folder: string) {
  const store = ["--root", `${folder}/store`, "--runroot", `${folder}/run`, "--storage-driver", "vfs"];
  const buildah = async (...args: string[]) => (await run("buildah", ...store, ...args)).trim();
  const base = await buildah("from", "scratch");
  await buildah("add", "--quiet", base, BASE, "/");
  await buildah("commit", "--quiet", "--rm", base, "localhost/base");

  const context = `${folder}/context`;
  await Deno.mkdir(context);
  await Deno.copyFile(fervoWorkerPath(), `${context}/program`);
  await Deno.copyFile(`${ROOT}THIRD-PARTY-NOTICES`, `${context}/THIRD-PARTY-NOTICES`);
  await buildah(
    ...["build", "--quiet", "--isolation", "chroot", "--file", `${ROOT}packaging/Dockerfile`],
    ...[
      "--build-arg",
      "BASE=localhost/base",
      "--build-arg",
      "BINARY=program",
      "--tag",
      "localhost/worker",
      context,
    ],
  );
  const container = await buildah("from", "localhost/worker");
  build.defer(() => buildah("umount", container).then(() => {}));
  const root = await buildah("mount", container);
  const { OCIv1: { config } } = JSON.parse(await buildah("inspect", "--type", "image", "localhost/worker"));
  return { root, config };
}

interface ImageConfig {
  readonly User: string;
  readonly Entrypoint: readonly string[];
  readonly Cmd: readonly string[];
  readonly WorkingDir: string;
  readonly Volumes: Readonly<Record<string, unknown>>;
  readonly Env: readonly string[];
}

/** How the image is run: its root read-only, with this network, and without any capability. */
function spec(root: string, image: ImageConfig, volume: string, configFile: string) {
  return {
    ociVersion: "1.0.2",
    root: { path: root, readonly: true },
    process: {
      user: { uid: UID, gid: UID },
      args: [...image.Entrypoint, ...image.Cmd],
      env: image.Env,
      cwd: image.WorkingDir,
      noNewPrivileges: true,
    },
    mounts: [
      { destination: "/proc", type: "proc", source: "proc" },
      { destination: "/dev", type: "tmpfs", source: "tmpfs", options: ["nosuid", "mode=755"] },
      {
        destination: "/run/fervo-worker",
        type: "tmpfs",
        source: "tmpfs",
        options: [`uid=${UID}`, `gid=${UID}`, "mode=0750"],
      },
      { destination: "/var/lib/fervo-worker", type: "bind", source: volume, options: ["rbind", "rw"] },
      {
        destination: "/etc/fervo-worker/fervo-worker.toml",
        type: "bind",
        source: configFile,
        options: ["rbind", "ro"],
      },
    ],
    linux: { namespaces: [{ type: "pid" }, { type: "ipc" }, { type: "uts" }, { type: "mount" }] },
  };
}

Deno.test("A container of packaging/Dockerfile runs jobs as a user without rights, on a root file system that is read-only, and ends by SIGTERM", async () => {
  await using stack = new AsyncDisposableStack();
  await debianBase();
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-container-" });
  stack.defer(() => Deno.remove(folder, { recursive: true }));
  const { root, config } = await image(stack, folder);
  assert.deepEqual([config.User, config.Entrypoint, config.Cmd, config.WorkingDir, config.StopSignal], [
    `${UID}:${UID}`,
    ["/usr/local/bin/fervo-worker"],
    ["run"],
    "/",
    "SIGTERM",
  ]);
  assert.deepEqual(Object.keys(config.Volumes), ["/var/lib/fervo-worker"]);

  const fpm = stack.use(await PhpFpm.start({ transport: "tcp" }));
  const script = await fpm.writeScript(
    "job.php",
    `<?php file_put_contents(__DIR__ . '/done', file_get_contents('php://input')); header('X-Fervo-Outcome: ack');`,
  );
  await run("chmod", "-R", "a+rwX", fpm.directory);
  const volume = `${folder}/volume`;
  await Deno.mkdir(volume);
  await Deno.chown(volume, UID, UID);
  const configFile = `${folder}/worker.toml`;
  await Deno.writeTextFile(
    configFile,
    `[brokers.default]
driver = "sqlite"
path = "/var/lib/fervo-worker/queue.sqlite"
[fpm.default]
address = ${JSON.stringify(fpm.address)}
script = ${JSON.stringify(script)}
[[consumers]]
name = "jobs"
queues = ["jobs"]
`,
  );
  await Deno.chmod(configFile, 0o644);
  await Deno.mkdir(`${folder}/bundle`);
  await Deno.writeTextFile(
    `${folder}/bundle/config.json`,
    JSON.stringify(spec(root, config, volume, configFile)),
  );

  const name = folder.split("/").at(-1)!;
  const runc = ["--root", `${folder}/runc`];
  const container = new Deno.Command("runc", {
    args: [...runc, "run", "--bundle", `${folder}/bundle`, name],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const output = container.output();
  stack.defer(() => runProgram("runc", ...runc, "delete", "--force", name).then(() => {}));
  const inside = (...args: string[]) => runProgram("runc", ...runc, "exec", name, ...args);

  const status = async () => (await inside("fervo-worker", "status", "--json")).said;
  await eventually("the worker runs", async () => /"state":"running"/.test(await status()));
  assert.equal((await inside("id", "-u")).said.trim(), String(UID));
  for (const place of ["/x", "/tmp/x", "/etc/fervo-worker/x", "/usr/local/bin/x"]) {
    assert.match((await inside("touch", place)).said, /Read-only file system/, place);
  }
  const pushed = await inside("fervo-worker", "push", "jobs", '{"in":"a container"}');
  assert.ok(pushed.success, pushed.said);
  const done = () => Deno.readTextFile(`${fpm.directory}/done`).catch(() => "");
  await eventually("the job has run", async () => await done() === '{"in":"a container"}');
  assert.equal((await Deno.stat(`${volume}/queue.sqlite`)).uid, UID);

  await run("runc", ...runc, "kill", name, "TERM");
  const { code, stderr } = await output;
  assert.equal(code, 0, new TextDecoder().decode(stderr));
});
