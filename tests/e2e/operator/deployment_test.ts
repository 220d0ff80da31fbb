/** What docs/running.md says of deployments by a symbolic link: which release a php-fpm runs that was not reloaded. */
import assert from "node:assert/strict";
import { eventually } from "../../support/eventually.ts";
import { fervoWorkerOk } from "../../support/fervo_worker.ts";
import { PhpFpm, type PhpFpmOptions } from "../../support/php_fpm.ts";

/** Two releases in a php-fpm's folder, and `current`, which leads to one of them. */
class Releases {
  readonly #fpm: PhpFpm;

  constructor(fpm: PhpFpm) {
    this.#fpm = fpm;
  }

  async make(): Promise<void> {
    const current = `${this.#fpm.directory}/current`;
    for (const [name, time] of [["1", 1_000], ["2", 2_000]] as const) {
      const folder = `${this.#fpm.directory}/${name}`;
      await Deno.mkdir(folder);
      const files = {
        "worker.php": `<?php echo "script ${name}, by the link ", require "${current}/file.php";`,
        "file.php": `<?php return "${name}";`,
      };
      for (const [file, code] of Object.entries(files)) {
        await Deno.writeTextFile(`${folder}/${file}`, code);
        await Deno.utime(`${folder}/${file}`, time, time);
      }
    }
    await this.deploy("1");
  }

  /** As deployment tools do it: the link is replaced in one step. */
  async deploy(name: "1" | "2"): Promise<void> {
    const { directory } = this.#fpm;
    await Deno.symlink(name, `${directory}/next`);
    await Deno.rename(`${directory}/next`, `${directory}/current`);
  }

  /** Which release runs. */
  async run(): Promise<string> {
    const script = `${this.#fpm.directory}/current/worker.php`;
    const answer = await fervoWorkerOk(["call", this.#fpm.address, "--script", script]);
    return answer.trim().split("\n").at(-1)!;
  }
}

async function withReleases(
  masterIni: PhpFpmOptions["masterIni"] & object,
  test: (releases: Releases, fpm: PhpFpm) => Promise<void>,
): Promise<void> {
  await using fpm = await PhpFpm.start({ children: 1, masterIni });
  const releases = new Releases(fpm);
  await releases.make();
  assert.equal(await releases.run(), "script 1, by the link 1");
  await releases.deploy("2");
  await test(releases, fpm);
}

Deno.test("A switched link reaches a php-fpm with opcache when it is reloaded, and until then not its front controller", async () => {
  await withReleases({ "opcache.validate_timestamps": "0" }, async (releases, fpm) => {
    assert.equal(await releases.run(), "script 1, by the link 1");
    await fpm.reload();
    assert.equal(await releases.run(), "script 2, by the link 2");
  });
});

Deno.test("A php-fpm that looks at timestamps and is not reloaded mixes two releases", async () => {
  const ini = { "opcache.validate_timestamps": "1", "realpath_cache_ttl": "1" };
  await withReleases(ini, async (releases, fpm) => {
    await eventually("the link leads to the new file", async () => (await releases.run()).endsWith("link 2"));
    assert.equal(await releases.run(), "script 1, by the link 2");
    await fpm.reload();
    assert.equal(await releases.run(), "script 2, by the link 2");
  });
});

Deno.test("Without opcache a switched link reaches a child when it no longer remembers where the link led", async () => {
  await withReleases({ "opcache.enable": "0", "realpath_cache_ttl": "1" }, async (releases) => {
    await eventually("the new release runs", async () => await releases.run() === "script 2, by the link 2");
  });
});
