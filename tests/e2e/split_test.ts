/**
 * The Composer packages as they are published: split from this repository, archived as a forge does it, and installed by Composer into a
 * project, from an index like Packagist's. No server takes part.
 */
import assert from "node:assert/strict";
import { documentAlone } from "../../scripts/release/split_packages.ts";
import { Site } from "../support/fervo_worker.ts";
import { PhpFpm } from "../support/php_fpm.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
/** Packages of others in one version each: scripts/setup bundle. */
const VENDOR = `${ROOT}.tools/bundle/vendor`;
const FORGE = "https://forge.example/fervo-worker";
const VERSION = "1.0.0";

const NAMES = { runner: "fervo/php-runner", bundle: "fervo/deferred-event-bundle" };
type Package = keyof typeof NAMES;

/** What a user gets of each, at the top. */
const ARCHIVED: Readonly<Record<Package, readonly string[]>> = {
  runner: ["CHANGELOG.md", "LICENSE", "README.md", "autoload.php", "composer.json", "src"],
  bundle: [
    "CHANGELOG.md",
    "LICENSE",
    "README.md",
    "UPGRADE.md",
    "bin",
    "composer.json",
    "config",
    "docs",
    "runner",
    "src",
    "templates",
  ],
};

/** A folder, gone with its scope, in which programs run. */
class Folder implements AsyncDisposable {
  private constructor(readonly path: string) {}

  static async create(): Promise<Folder> {
    return new Folder(await Deno.makeTempDir({ prefix: "fervo-split-" }));
  }

  /** @returns What it has written to standard output. */
  async run(program: string, ...args: string[]): Promise<string> {
    const env = {
      COMPOSER_ALLOW_SUPERUSER: "1",
      COMPOSER_HOME: `${this.path}/.composer`,
      COMPOSER_NO_INTERACTION: "1",
      GIT_CONFIG_GLOBAL: "/dev/null",
      ...author(["AUTHOR", "COMMITTER"]),
    };
    const { code, stdout, stderr } = await new Deno.Command(program, { args, cwd: this.path, env }).output();
    const [out, err] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes));
    assert.equal(code, 0, `${program} ${args.join(" ")}:\n${out}${err}`);
    return out!;
  }

  async write(name: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.path}/${name}`, text);
  }

  async writeJson(name: string, value: unknown): Promise<void> {
    await this.write(name, JSON.stringify(value));
  }

  [Symbol.asyncDispose](): Promise<void> {
    return Deno.remove(this.path, { recursive: true });
  }
}

function author(roles: readonly string[]): Record<string, string> {
  const of = (role: string) => [[`GIT_${role}_NAME`, "test"], [`GIT_${role}_EMAIL`, "test@example.org"]];
  return Object.fromEntries(roles.flatMap(of));
}

/** A checkout of its own, with one commit of the two packages as they are here. */
async function checkout(): Promise<Folder> {
  const folder = await Folder.create();
  await Deno.mkdir(`${folder.path}/php`);
  const files = ["vendor", "composer.lock", ".cache"].map((name) => `--exclude=./*/${name}`).join(" ");
  await folder.run("bash", "-c", `tar -C ${ROOT}php ${files} -c ./runner ./bundle | tar -C php -x`);
  await folder.run("git", "init", "--quiet");
  await folder.run("git", "add", ".");
  await folder.run("git", "commit", "--quiet", "--message", "all");
  return folder;
}

function split(folder: Folder, ...args: string[]): Promise<string> {
  const script = `${ROOT}scripts/release/split_packages.ts`;
  return folder.run(Deno.execPath(), "run", "-A", "--config", `${ROOT}deno.json`, script, ...args);
}

const lines = (text: string) => text.trim().split("\n");

Deno.test("documentAlone() leads links that leave the package to the forge, or makes text of them", () => {
  const of = (text: string, url?: string) => documentAlone(text, "php/runner/docs/a.md", "php/runner", url);
  const inside = "[a](../README.md#use) [b](b.md) [c](#c) [d](https://example.org/)";
  assert.equal(of(inside), inside);
  assert.equal(of(inside, FORGE), inside);
  assert.equal(of("[p](../../../docs/protocol.md#2-the-answer), [b](../../bundle/README.md)"), "p, b");
  assert.equal(
    of("[p](../../../docs/protocol.md#2-the-answer)", FORGE),
    `[p](${FORGE}/docs/protocol.md#2-the-answer)`,
  );
});

Deno.test("deno task split makes a branch of each package, with all of its files and no link that leads out", async () => {
  await using t = await checkout();
  const first = await split(t, "--repository", FORGE);
  assert.match(first, /^split\/runner is [0-9a-f]{40}\nsplit\/bundle is [0-9a-f]{40}\n$/);
  const head = (await t.run("git", "rev-parse", "HEAD")).trim();
  for (const name of ["runner", "bundle"]) {
    const files = lines(await t.run("git", "ls-tree", "-r", "--name-only", `split/${name}`));
    assert.deepEqual(files, lines(await t.run("git", "ls-tree", "-r", "--name-only", `HEAD:php/${name}`)));
    const changed = lines(await t.run("git", "diff", "--name-only", `HEAD:php/${name}`, `split/${name}`));
    assert.deepEqual(changed.filter((file) => !file.endsWith(".md")), []);
    assert.ok(
      (await t.run("git", "show", `split/${name}:README.md`)).includes(`](${FORGE}/blob/${head}/README.md)`),
    );
    for (const file of files.filter((file) => file.endsWith(".md"))) {
      assert.doesNotMatch(await t.run("git", "show", `split/${name}:${file}`), /\]\((?:\.\.\/){2}/, file);
    }
  }

  // The same again changes nothing, a change of one package concerns that package.
  assert.equal(
    await split(t, "--repository", FORGE),
    "split/runner is up to date\nsplit/bundle is up to date\n",
  );
  const before = (await t.run("git", "rev-parse", "split/runner")).trim();
  await t.write("php/runner/README.md", "# Another\n");
  await t.run("git", "commit", "--quiet", "--all", "--message", "another");
  assert.match(
    await split(t, "--repository", FORGE),
    /^split\/runner is [0-9a-f]{40}\nsplit\/bundle is up to date\n$/,
  );
  assert.equal((await t.run("git", "rev-parse", "split/runner^")).trim(), before);
});

/** The packages as a forge has them, and an index of packages like Packagist's, with those of others that they need. */
async function published(): Promise<Folder> {
  const t = await checkout();
  await split(t, "--repository", FORGE);
  const packages: Record<string, unknown> = {};
  for (const [name, composerName] of Object.entries(NAMES)) {
    await t.run("git", "init", "--quiet", "--bare", `${name}.git`);
    await t.run(
      "git",
      "push",
      "--quiet",
      `${name}.git`,
      `split/${name}:refs/heads/main`,
      `split/${name}:refs/tags/v${VERSION}`,
    );
    const archive = `${t.path}/${name}.zip`;
    await t.run(
      "git",
      "-C",
      `${name}.git`,
      "archive",
      "--prefix",
      `${name}-${VERSION}/`,
      "--output",
      archive,
      `v${VERSION}`,
    );
    const { "require-dev": _, "autoload-dev": __, ...composer } = JSON.parse(
      await t.run("git", "-C", `${name}.git`, "show", `v${VERSION}:composer.json`),
    );
    const dist = { type: "zip", url: `file://${archive}` };
    packages[composerName] = { [VERSION]: { ...composer, version: VERSION, dist } };
  }
  const installed = JSON.parse(
    await Deno.readTextFile(`${VENDOR}/composer/installed.json`).catch(() => {
      throw new Error("The packages of others are not there: run scripts/setup bundle");
    }),
  );
  for (const { name, version, dist: _, source: __, "notification-url": ___, ...more } of installed.packages) {
    packages[name] = {
      [version]: { ...more, name, version, dist: { type: "path", url: `${VENDOR}/${name}` } },
    };
  }
  await t.writeJson("packages.json", { packages });
  return t;
}

/** A project that requires these, installed from that index alone. */
async function project(index: Folder, require: Readonly<Record<string, string>>): Promise<Folder> {
  const t = await Folder.create();
  const repositories = [{ type: "composer", url: `file://${index.path}` }, { "packagist.org": false }];
  await t.writeJson("composer.json", { name: "test/project", require, repositories });
  await t.run("composer", "install", "--no-progress", "--no-plugins");
  return t;
}

Deno.test("The archives of the Composer packages have what a user needs, install, and run jobs on php-fpm", async (t) => {
  await using index = await published();

  for (const name of ["runner", "bundle"] as const) {
    await t.step(`the archive of ${name} has what a user needs, and nothing else`, async () => {
      const paths = lines(await index.run("bash", "-c", `unzip -Z1 ${name}.zip`));
      const top = paths.map((path) => path.slice(`${name}-${VERSION}/`.length).split("/")[0]!);
      assert.deepEqual([...new Set(top)].filter((path) => path !== "").sort(), ARCHIVED[name]);
    });
  }

  await t.step("a project with fervo/php-runner runs a job", async () => {
    await using app = await project(index, { [NAMES.runner]: "^1.0" });
    assert.deepEqual(
      [...Deno.readDirSync(`${app.path}/vendor/${NAMES.runner}`)].map(({ name }) => name).sort(),
      ARCHIVED.runner,
    );
    await using fpm = await PhpFpm.start({ children: 1 });
    await app.write(
      "worker.php",
      `<?php
require __DIR__.'/vendor/autoload.php';
Fervo\\Runner\\Runner::serve(fn () => fn (Fervo\\Runner\\Job $job) => file_put_contents(__DIR__.'/done', $job->payload));
`,
    );
    await app.run("chmod", "-R", "a+rwX", ".");
    await using site = await Site.create(fpm, { fpm: { script: `${app.path}/worker.php` } });
    await site.runOk(["push", "jobs", "a job"]);
    assert.match(await site.runOk(["run", "--until-empty"]), /^Done: +1 job /m);
    assert.equal(await Deno.readTextFile(`${app.path}/done`), "a job");
  });

  await t.step(
    "a project with the bundle boots, and has the bundle's copy of the runner in the place of the package",
    async () => {
      await using app = await project(index, { [NAMES.bundle]: "^1.0", [NAMES.runner]: "^1.0" });
      assert.deepEqual([...Deno.readDirSync(`${app.path}/vendor/fervo`)].map(({ name }) => name), [
        "deferred-event-bundle",
      ]);
      await app.write("boot.php", BOOT);
      assert.deepEqual(JSON.parse(await app.run("php", "boot.php")), {
        bundle: "vendor/fervo/deferred-event-bundle/src",
        runner: "vendor/fervo/deferred-event-bundle/runner",
        deferred: 1,
      });
    },
  );
});

/** An application with the bundle alone, which defers an event. */
const BOOT = `<?php
require __DIR__.'/vendor/autoload.php';

use Fervo\\DeferredEventBundle\\DeferredEventQueueInterface;
use Fervo\\DeferredEventBundle\\FervoDeferredEventBundle;
use Fervo\\Runner\\Job;
use Symfony\\Bundle\\FrameworkBundle\\FrameworkBundle;
use Symfony\\Component\\Config\\Loader\\LoaderInterface;
use Symfony\\Component\\HttpKernel\\Kernel;

final class App extends Kernel
{
    public function registerBundles(): iterable
    {
        return [new FrameworkBundle(), new FervoDeferredEventBundle()];
    }

    public function getProjectDir(): string
    {
        return __DIR__;
    }

    public function registerContainerConfiguration(LoaderInterface $loader): void
    {
        $loader->load(static function ($container): void {
            $container->loadFromExtension('framework', ['secret' => 's3cret', 'http_method_override' => false, 'test' => true]);
            $container->loadFromExtension('fervo_deferred_event', ['backend' => ['type' => 'in-memory']]);
        });
    }
}

final class Ordered
{
    public int $id = 7;
}

$kernel = new App('test', false);
$kernel->boot();
$container = $kernel->getContainer()->get('test.service_container');
$container->get(DeferredEventQueueInterface::class)->deferEvent(new Ordered());
$place = static fn (string $class): string => substr(dirname((new ReflectionClass($class))->getFileName()), strlen(__DIR__) + 1);
echo json_encode([
    'bundle' => $place(FervoDeferredEventBundle::class),
    'runner' => $place(Job::class),
    'deferred' => count($container->get('fervo_deferred_event.backend')->jobs()),
], JSON_UNESCAPED_SLASHES);
`;
