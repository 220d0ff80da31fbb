import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import deno from "../../deno.json" with { type: "json" };
import { fervoWorker, fervoWorkerOk, fervoWorkerPath, Site } from "../support/fervo_worker.ts";

Deno.test("--version prints the version of deno.json", async () => {
  assert.equal(await fervoWorkerOk(["--version"]), `fervo-worker ${deno.version}\n`);
});

Deno.test("The binary grants itself programs, no libraries, of the system only the host's name, file systems and its user, and asks nobody", async () => {
  const binary = Buffer.from((await Deno.readFile(fervoWorkerPath())).buffer);
  const start = binary.indexOf('"permissions":{"');
  assert.ok(start > 0, "no permissions in the binary");
  const text = binary.subarray(start + '"permissions":'.length, start + 4_000).toString("latin1");
  const permissions = JSON.parse(text.slice(0, text.indexOf("}") + 1));
  const { allow_run, allow_ffi, allow_sys, prompt } = permissions;
  assert.deepEqual({ allow_run, allow_ffi, allow_sys, prompt }, {
    allow_run: [],
    allow_ffi: null,
    allow_sys: ["hostname", "statfs", "uid"],
    prompt: false,
  });
});

for (
  const [what, file] of [
    ["its own environment", "/proc/self/environ"],
    ["another process's memory", "/proc/1/mem"],
    ["a device", "/dev/mem"],
  ] as const
) {
  Deno.test(`The binary may not read ${what}, whoever runs it`, async () => {
    const { code, stdout, stderr } = await fervoWorker(["check", "--config", file], {
      env: { SECRET: "hunter2" },
    });
    assert.notEqual(code, 0);
    // What is said of Deno's own refusal, not of the kernel's: root may read these.
    assert.match(stderr, /it is not a regular file/);
    assert.doesNotMatch(stdout + stderr, /hunter2/);
  });
}

Deno.test("docs/security.md lists the permissions with which scripts/compile makes the binary", async () => {
  const script = await Deno.readTextFile(new URL("../../scripts/compile", import.meta.url));
  const flags = script.match(/^PERMISSIONS=\((.*)\)$/m)![1]!.replaceAll('"', "").split(" ");
  const docs = await Deno.readTextFile(new URL("../../docs/security.md", import.meta.url));
  const section = docs.split("\n## The binary's permissions\n")[1]!.split("\n## ")[0]!;
  const listed = [...section.matchAll(/`(--(?:allow|deny)-[^`]+)`/g)].map(([, flag]) => flag!);
  assert.deepEqual(listed.sort(), flags.sort());
});

Deno.test("No arguments print the help to standard error, with exit code 2", async () => {
  const { code, stdout, stderr } = await fervoWorker([]);
  assert.equal(code, 2);
  assert.equal(stdout, "");
  assert.match(stderr, /^Usage: fervo-worker \[options\] \[command\]\n/);
});

Deno.test("A reader that leaves early is no error: | head", async () => {
  await using site = await Site.create();
  const first = await site.run(["queues"], { shell: '"$@" | head -n 1' });
  assert.deepEqual({ ...first, stdout: first.stdout.slice(0, 6) }, {
    code: 0,
    signal: null,
    stdout: "READY ",
    stderr: "",
  });
  // More than a pipe holds, so that the write fails for certain.
  const args = ["push", "jobs", "{}", "--count", "20000", "--json"];
  const { code, stdout, stderr } = await site.run(args, { shell: '"$@" | head -c 1' });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: "{", stderr: "" });
});

Deno.test("Output that can not be written is told, with exit code 1", async () => {
  const { code, stderr } = await fervoWorker(["--help"], { shell: '"$@" >/dev/full' });
  assert.equal(code, 1);
  assert.match(stderr, /^fervo-worker: Cannot write the output: no space left on device/);
});

Deno.test("push - takes a closed standard input for an empty one", async () => {
  await using site = await Site.create();
  const { code, stdout, stderr } = await site.run(["push", "jobs", "-"], { shell: '"$@" <&-' });
  assert.deepEqual({ code, stdout, stderr }, { code: 0, stdout: 'Pushed job 1 to "jobs"\n', stderr: "" });
});
