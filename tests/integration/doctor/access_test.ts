import assert from "node:assert/strict";
import { checkSecretFile, checkWritable } from "../../../src/doctor/access.ts";

async function makeFile(mode: number) {
  const folder = await Deno.makeTempDir({ prefix: "fervo-access-" });
  await Deno.chmod(folder, 0o755);
  const path = `${folder}/secret`;
  await Deno.writeTextFile(path, "x");
  await Deno.chmod(path, mode);
  return { folder, path, [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }) };
}

Deno.test("checkSecretFile() warns of a file that every user can read, with what to do", async () => {
  await using file = await makeFile(0o644);
  const found = await checkSecretFile(file.path, "the token");
  assert.equal(found?.id, "secrets.readable");
  assert.equal(found.severity, "warning");
  assert.ok(found.what.includes(`"${file.path}", which holds the token`));
  assert.ok(found.fix!.startsWith(`chmod 640 "${file.path}"`));
  await Deno.chmod(file.path, 0o640);
  assert.equal((await checkSecretFile(file.path, "the token"))?.severity, "ok");
});

Deno.test("checkSecretFile() finds nothing wrong where the file's folder is closed, also behind a link", async () => {
  await using file = await makeFile(0o644);
  const link = `${file.folder}/link`;
  await Deno.symlink("secret", link);
  assert.equal((await checkSecretFile(link, "x"))?.severity, "warning");
  await Deno.chmod(file.folder, 0o750);
  assert.equal((await checkSecretFile(link, "x"))?.severity, "ok");
});

Deno.test("checkSecretFile() says nothing of what is not there, and of what is no file", async () => {
  assert.equal(await checkSecretFile("/nowhere/secret", "x"), undefined);
  assert.equal(await checkSecretFile("/dev/null", "x"), undefined);
});

Deno.test("checkWritable() takes a configuration that every user can write for an error", async () => {
  await using file = await makeFile(0o666);
  assert.equal((await checkWritable(file.path))?.severity, "error");
  await Deno.chmod(file.path, 0o664);
  assert.equal(await checkWritable(file.path), undefined);
});
