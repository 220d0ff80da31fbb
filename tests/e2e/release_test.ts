/** scripts/compile --release, on a copy of the sources: a release is of a commit, and this one has none of ours in it. */
import assert from "node:assert/strict";
import deno from "../../deno.json" with { type: "json" };

const ROOT = new URL("../../", import.meta.url).pathname;
const SOURCES = ["main.ts", "deno.json", "deno.lock", "config.example.toml", "src", "scripts", "examples"];

interface Result {
  readonly code: number;
  readonly said: string;
}

/** A checkout of its own, with one commit; gone with its scope. */
async function checkout() {
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-release-" });
  async function run(program: string, ...args: string[]): Promise<Result> {
    const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: folder, stdin: "null" })
      .output();
    const utf8 = new TextDecoder();
    return { code, said: utf8.decode(stdout) + utf8.decode(stderr) };
  }
  const git = async (...args: string[]) => {
    const { code, said } = await run(
      "git",
      "-c",
      "user.name=test",
      "-c",
      "user.email=test@example.org",
      ...args,
    );
    assert.equal(code, 0, said);
    return said.trim();
  };
  await run("cp", "-a", ...SOURCES.map((name) => `${ROOT}${name}`), folder);
  await Deno.symlink(`${ROOT}.tools`, `${folder}/.tools`);
  await git("init", "--quiet");
  await git("add", ...SOURCES);
  await git("commit", "--quiet", "--message", "all");
  return {
    folder,
    run,
    git,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

Deno.test("scripts/compile --release names version and target in the file, the commit inside, and is reproducible", async () => {
  await using t = await checkout();
  const name = `fervo-worker-${deno.version}-linux-x64`;
  const first = await t.run("scripts/compile", "--release");
  assert.equal(first.code, 0, first.said);
  const release = `${t.folder}/dist/release`;
  const sums = await Deno.readTextFile(`${release}/SHA256SUMS`);
  assert.match(sums, new RegExp(`^[0-9a-f]{64}  ${name}$`, "m"));
  const files = [...Deno.readDirSync(release)].map(({ name }) => name).sort();
  const summed = [...sums.matchAll(/^\S+ {2}(.*)$/gm)].map((match) => match[1]!);
  assert.deepEqual(files, ["SHA256SUMS", ...summed].sort());
  // A target is either there or told to be missing.
  for (const target of ["linux-x64", "linux-arm64"]) {
    const file = `fervo-worker-${deno.version}-${target}`;
    assert.equal(first.said.includes(`${file} is left out`), !files.includes(file), first.said);
  }
  const told = JSON.parse((await t.run(`${release}/${name}`, "--version", "--json")).said);
  assert.deepEqual({ ...told, deno: "" }, {
    version: deno.version,
    commit: await t.git("rev-parse", "HEAD"),
    target: "x86_64-unknown-linux-gnu",
    deno: "",
  });
  await t.run("scripts/compile", "--release");
  assert.equal(await Deno.readTextFile(`${release}/SHA256SUMS`), sums);
});

Deno.test("scripts/compile --release refuses sources that are no commit, and other binaries say so", async () => {
  await using t = await checkout();
  await Deno.writeTextFile(`${t.folder}/main.ts`, "\n", { append: true });
  const { code, said } = await t.run("scripts/compile", "--release");
  assert.equal(code, 1);
  assert.match(said, /a release is of a commit: commit or discard your changes first/);
  assert.equal((await t.run("scripts/compile")).code, 0);
  const told = JSON.parse((await t.run("dist/fervo-worker", "--version", "--json")).said);
  assert.equal(told.commit, `${await t.git("rev-parse", "HEAD")}-dirty`);
});
