/**
 * scripts/package, on the binary of these tests. What lintian says: tests/slow/debian_package_test.ts. The package is installed, upgraded and
 * removed by tests/debian_package/walk.
 */
import assert from "node:assert/strict";
import deno from "../../deno.json" with { type: "json" };
import { packagedRelease } from "../support/packaged_release.ts";
import { fervoWorkerOk, fervoWorkerPath } from "../support/fervo_worker.ts";
import { runProgram } from "../support/run_program.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const VERSION = deno.version;
const BINARY = `fervo-worker-${VERSION}-linux-x64`;
const PACKAGE = `fervo-worker_${VERSION}-1_amd64.deb`;

async function run(program: string, ...args: string[]): Promise<string> {
  const { success, said } = await runProgram(program, ...args);
  assert.ok(success, said);
  return said;
}

Deno.test("scripts/package makes all files of a release beside the binaries", async (t) => {
  await using made = await packagedRelease();
  const { folder } = made;
  const unpacked = `${folder}/unpacked`;
  await run("dpkg-deb", "--extract", `${folder}/${PACKAGE}`, unpacked);

  await t.step("The files are there, and SHA256SUMS has the hash of each", async () => {
    const files = [...Deno.readDirSync(folder)].filter(({ isFile }) => isFile).map(({ name }) => name).sort();
    assert.deepEqual(
      files,
      [
        "SHA256SUMS",
        "Dockerfile",
        "THIRD-PARTY-NOTICES",
        BINARY,
        `${BINARY}.cdx.json`,
        "fervo-worker.1",
        PACKAGE,
      ].sort(),
    );
    const sums = await Deno.readTextFile(`${folder}/SHA256SUMS`);
    const summed = [...sums.matchAll(/^[0-9a-f]{64} {2}(.+)$/gm)].map((match) => match[1]!);
    assert.deepEqual(["SHA256SUMS", ...summed].sort(), files);
    await run("sh", "-c", `cd ${folder} && sha256sum --check --strict SHA256SUMS`);
  });

  await t.step("The package has the program and what belongs to it, all of root", async () => {
    const listed = await run("dpkg-deb", "--contents", `${folder}/${PACKAGE}`);
    const files = [...listed.matchAll(/^-(\S+) root\/root +\d+ \S+ \S+ \.\/(.+)$/gm)]
      .map((match) => `${match[1]} ${match[2]}`).sort();
    assert.deepEqual(files.length, listed.split("\n").filter((line) => line.startsWith("-")).length);
    const doc = "usr/share/doc/fervo-worker";
    assert.deepEqual(
      files,
      [
        "rwxr-xr-x usr/bin/fervo-worker",
        "rw-r--r-- usr/lib/systemd/system/fervo-worker@.service",
        "rw-r--r-- usr/lib/sysusers.d/fervo-worker.conf",
        "rw-r--r-- usr/lib/tmpfiles.d/fervo-worker.conf",
        "rw-r--r-- usr/share/bash-completion/completions/fervo-worker",
        "rw-r--r-- usr/share/zsh/vendor-completions/_fervo-worker",
        "rw-r--r-- usr/share/fish/vendor_completions.d/fervo-worker.fish",
        "rw-r--r-- usr/share/lintian/overrides/fervo-worker",
        "rw-r--r-- usr/share/man/man1/fervo-worker.1.gz",
        ...["THIRD-PARTY-NOTICES.gz", "changelog.Debian.gz", "changelog.gz", "copyright"],
        ...["examples/fervo-standalone.php", "examples/fervo-worker.toml", "examples/handlers.php"],
      ].map((file) => file.startsWith("rw") ? file : `rw-r--r-- ${doc}/${file}`).sort(),
    );
  });

  await t.step("The completions are what the program prints", async () => {
    for (
      const [shell, place] of [
        ["bash", "bash-completion/completions/fervo-worker"],
        ["zsh", "zsh/vendor-completions/_fervo-worker"],
        ["fish", "fish/vendor_completions.d/fervo-worker.fish"],
      ] as const
    ) {
      const installed = await Deno.readTextFile(`${unpacked}/usr/share/${place}`);
      assert.equal(installed, await fervoWorkerOk(["completion", shell]));
    }
  });

  await t.step(
    "The package depends on the libraries of the program, in the versions that it needs",
    async () => {
      const field = (await run("dpkg-deb", "--field", `${folder}/${PACKAGE}`, "Depends")).trim();
      const [, libc] = /^libc6 \(>= (\d+\.\d+)\), libgcc-s1 \(>= \d+\.\d+(?:\.\d+)?\)$/.exec(field) ?? [];
      assert.ok(libc !== undefined, field);
      // The newest version of a symbol that the loader is told of.
      const needed = await run("readelf", "--wide", "--version-info", fervoWorkerPath());
      const versions = [...needed.matchAll(/GLIBC_(\d+)\.(\d+)/g)].map(([, a, b]) =>
        Number(a) * 1000 + Number(b)
      );
      const [major, minor] = libc.split(".").map(Number);
      assert.equal(major! * 1000 + minor!, Math.max(...versions));
    },
  );
});

Deno.test("scripts/package says what is missing: who answers for the Debian package, or the binary", async () => {
  const run = async (maintainer: string) => {
    const env = { FERVO_MAINTAINER: maintainer };
    const command = new Deno.Command(`${ROOT}scripts/package`, {
      args: ["/var/empty-release"],
      env,
      stdin: "null",
    });
    const { code, stderr } = await command.output();
    return { code, said: new TextDecoder().decode(stderr) };
  };
  const nobody = await run("");
  assert.equal(nobody.code, 1);
  assert.match(nobody.said, /FERVO_MAINTAINER is not set: it names who answers for the Debian package/);
  const nothing = await run("A Person <person@example.org>");
  assert.equal(nothing.code, 1);
  assert.match(nothing.said, /there is no \/var\/empty-release\/.*: run scripts\/compile --release first/);
});
