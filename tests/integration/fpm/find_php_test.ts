import assert from "node:assert/strict";
import { findCli, findPhp, newestFpm } from "../../../src/fpm/find_php.ts";

/** A folder with programs that say of themselves that they are this PHP; removed with the scope. */
async function folderOf(
  programs: Readonly<Record<string, string>>,
): Promise<AsyncDisposable & { path: string }> {
  const path = await Deno.makeTempDir({ prefix: "fervo-php-" });
  for (const [name, says] of Object.entries(programs)) {
    await Deno.writeTextFile(`${path}/${name}`, `#!/bin/sh\necho "${says}"\n`, { mode: 0o755 });
  }
  return { path, [Symbol.asyncDispose]: () => Deno.remove(path, { recursive: true }) };
}

Deno.test("findPhp() takes the newest php-fpm, and the command line of the same version", async () => {
  await using folder = await folderOf({
    "php-fpm8.9": "PHP 8.9.1 (fpm-fcgi)",
    "php-fpm8.10": "PHP 8.10.2 (fpm-fcgi) (built: today)",
    "php": "PHP 8.9.1 (cli)",
    "php8.10": "PHP 8.10.4 (cli)",
  });
  assert.deepEqual(await findPhp(folder.path, []), {
    fpm: `${folder.path}/php-fpm8.10`,
    fpmVersion: "8.10.2",
    cli: `${folder.path}/php8.10`,
    cliVersion: "8.10.4",
  });
});

Deno.test("newestFpm() tells the newest php-fpm by its name, and runs nothing", async () => {
  await using folder = await folderOf({ "php-fpm8.9": "", "php-fpm8.10": "", "php-fpm-helper": "" });
  await using sbin = await folderOf({ "php-fpm": "" });
  assert.equal(await newestFpm(folder.path, [sbin.path]), `${folder.path}/php-fpm8.10`);
  assert.equal(await newestFpm("/nowhere", [sbin.path]), `${sbin.path}/php-fpm`);
  assert.equal(await newestFpm("/nowhere", []), undefined);
});

Deno.test("findPhp() knows names without a version, and looks into the folders of system programs", async () => {
  await using sbin = await folderOf({ "php-fpm": "PHP 8.4.0 (fpm-fcgi)" });
  await using bin = await folderOf({ "php": "PHP 8.4.0 (cli)" });
  const { fpm, cli } = await findPhp(`/nowhere:${bin.path}`, [sbin.path]);
  assert.deepEqual([fpm, cli], [`${sbin.path}/php-fpm`, `${bin.path}/php`]);
});

Deno.test("findPhp() takes no command line of another version", async () => {
  await using folder = await folderOf({ "php-fpm8.2": "PHP 8.2.1 (fpm-fcgi)", "php": "PHP 8.3.1 (cli)" });
  const { fpmVersion, cli, cliVersion } = await findPhp(folder.path, []);
  assert.deepEqual([fpmVersion, cli, cliVersion], ["8.2.1", undefined, undefined]);
  assert.equal((await findCli(folder.path))?.version, "8.3.1");
});

Deno.test("findPhp() passes over what is no PHP", async () => {
  await using folder = await folderOf({
    "php-fpm8.3": "segmentation fault",
    "php-fpm8.2": "PHP 8.2.1 (fpm-fcgi)",
  });
  assert.equal((await findPhp(folder.path, [])).fpmVersion, "8.2.1");
});

Deno.test("findPhp() says what to install where there is no php-fpm", async () => {
  await using folder = await folderOf({ "php": "PHP 8.2.1 (cli)" });
  await assert.rejects(findPhp(folder.path, []), {
    code: "FASTCGI_CONNECT_FAILED",
    message: new RegExp(
      `^Cannot find php-fpm in "${folder.path}": install PHP, e\\.g\\. "apt-get install php-fpm php-cli"`,
    ),
  });
});
