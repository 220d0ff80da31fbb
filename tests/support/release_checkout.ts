import assert from "node:assert/strict";
import { DenoServer } from "./deno_server.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const SOURCES = [
  "main.ts",
  "deno.json",
  "deno.lock",
  "config.example.toml",
  "THIRD-PARTY-NOTICES",
  "CHANGELOG.md",
  "packaging",
  "src",
  "scripts",
  "examples",
];

interface Result {
  readonly code: number;
  readonly said: string;
}

/**
 * A checkout of its own, with one commit; gone with its scope. Its Deno is the one of {@link DenoServer}.
 *
 * @param pins What is in scripts/deno-release.sha256.
 */
export async function releaseCheckout(pins = "") {
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-release-" });
  async function run(command: readonly string[], env: Record<string, string> = {}): Promise<Result> {
    const [program, ...args] = command;
    const { code, stdout, stderr } = await new Deno.Command(program!, {
      args,
      cwd: folder,
      env,
      stdin: "null",
    })
      .output();
    const utf8 = new TextDecoder();
    return { code, said: utf8.decode(stdout) + utf8.decode(stderr) };
  }
  const git = async (...args: string[]) => {
    const { code, said } = await run(
      ["git", "-c", "user.name=test", "-c", "user.email=test@example.org", ...args],
    );
    assert.equal(code, 0, said);
    return said.trim();
  };
  await run(["cp", "-a", ...SOURCES.map((name) => `${ROOT}${name}`), folder]);
  // What was downloaded, without the archives of a real release.
  await Deno.mkdir(`${folder}/.tools`);
  for (const name of ["deno", "denort", "deno-dir", "npm"]) {
    const there = await Deno.stat(`${ROOT}.tools/${name}`).then(() => true, () => false);
    if (there) await Deno.symlink(`${ROOT}.tools/${name}`, `${folder}/.tools/${name}`);
  }
  await Deno.writeTextFile(`${folder}/scripts/deno-release.sha256`, pins);
  const paths = `${folder}/scripts/lib/env.sh`;
  const before = await Deno.readTextFile(paths);
  const text = before.replace(/^DENO_VERSION=\S+/m, `DENO_VERSION=${DenoServer.VERSION}`);
  assert.notEqual(text, before);
  await Deno.writeTextFile(paths, text);
  await git("init", "--quiet");
  await git("add", ...SOURCES);
  await git("commit", "--quiet", "--message", "all");
  return {
    folder,
    run,
    git,
    release: (server: string) => run(["scripts/compile", "--release"], { FERVO_DENO_SERVER: server }),
    pin: (server: string) => run(["scripts/compile", "--pin"], { FERVO_DENO_SERVER: server }),
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}
