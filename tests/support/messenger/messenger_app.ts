/** The application of the conformance test: one that uses Symfony Messenger, on one of several versions of Symfony. */
import { copy } from "../copy_folder.ts";

const ROOT = new URL("../../../", import.meta.url).pathname;
/** In the bundle's folder. */
const COMPOSER = "tests/Support/Composer";

/** Where an application's Symfony comes from: the packages of this machine's Debian, or Composer's of `scripts/setup slow`. */
export type SymfonyVersion = "Debian's" | "6.4" | "7.4";

export interface MessengerAppOptions {
  readonly symfony: SymfonyVersion;
  /** The bundle is installed, as for fervo-worker. The application that messenger:consume runs does not have it. */
  readonly hasBundle: boolean;
  readonly env: Readonly<Record<string, string>>;
  /** Folders that are copied over the application. */
  readonly overlays?: readonly string[];
  /** Files that this version of the application does not have yet. */
  readonly without?: readonly string[];
}

/** A copy of the folder app/ in a temporary folder, with its vendor/ and a container that is built; gone with its scope. */
export class MessengerApp implements AsyncDisposable {
  readonly directory: string;
  /** Of each process that runs the application, php-fpm's included. */
  readonly env: Readonly<Record<string, string>>;

  private constructor(directory: string, env: Readonly<Record<string, string>>) {
    this.directory = directory;
    this.env = { APP_SECRET: "the application's secret", ...env };
  }

  /** @throws {Error} when this Symfony is not installed, or the application does not start, with what PHP says. */
  static async create(
    { symfony, hasBundle, env, overlays = [], without = [] }: MessengerAppOptions,
  ): Promise<MessengerApp> {
    const app = new MessengerApp(
      await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-messenger-" }),
      env,
    );
    try {
      for (const folder of [`${ROOT}tests/support/messenger/app`, ...overlays]) {
        await copy(folder, app.directory);
      }
      for (const path of without) await Deno.remove(`${app.directory}/${path}`);
      for (const folder of ["var", "vendor/fervo"]) {
        await Deno.mkdir(`${app.directory}/${folder}`, { recursive: true });
      }
      const bundle = `${app.directory}/vendor/fervo/deferred-event-bundle`;
      if (hasBundle) await Deno.symlink(`${ROOT}php/bundle`, bundle);
      if (symfony === "Debian's") {
        await copy(`${ROOT}tests/support/symfony_vendor`, `${app.directory}/vendor`);
        // Symfony asks Composer for what is installed, and the bundle's tests have what answers without Composer.
        if (!hasBundle) await copy(`${ROOT}php/bundle/${COMPOSER}`, `${bundle}/${COMPOSER}`);
      } else {
        await Deno.writeTextFile(`${app.directory}/vendor/autoload.php`, await composerAutoload(symfony));
      }
      await app.console("cache:warmup", "--quiet");
      // PHP-FPM's children may be of another user.
      await Deno.chmod(app.directory, 0o755);
      return app;
    } catch (error) {
      await app[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** For `script` of the worker's configuration. */
  get frontController(): string {
    return `${this.directory}/vendor/fervo/deferred-event-bundle/bin/fervo-run.php`;
  }

  /** Of PHP's command line. With compiled files, a process starts in a third of the time. */
  get #settings(): string[] {
    const settings = {
      memory_limit: MEMORY_LIMIT,
      "opcache.enable_cli": "1",
      "opcache.file_cache": `${this.directory}/var`,
      "opcache.file_cache_only": "1",
    };
    return Object.entries(settings).flatMap(([name, value]) => ["-d", `${name}=${value}`]);
  }

  /** A process of `bin/console …`, with a limit of memory, which PHP's command line does not have by itself. */
  start(...args: readonly string[]): Deno.Command {
    return new Deno.Command("php", {
      args: [...this.#settings, `${this.directory}/bin/console`, ...args],
      env: this.env,
      stdin: "piped",
      stdout: "piped",
      stderr: "piped",
    });
  }

  /** What `bin/console …` says, on standard error where its output is empty; fails unless it exits with 0. */
  async console(...args: readonly string[]): Promise<string> {
    return await this.consoleWith("", ...args);
  }

  /** The same for a command that reads its standard input. */
  async consoleWith(stdin: string, ...args: readonly string[]): Promise<string> {
    const process = this.start(...args).spawn();
    const written = new Response(stdin).body!.pipeTo(process.stdin).catch(() => {});
    const { success, stdout, stderr } = await process.output();
    await written;
    const [said, complained] = [stdout, stderr].map((bytes) => new TextDecoder().decode(bytes)) as [
      string,
      string,
    ];
    if (success) return said || complained;
    throw new Error(`bin/console ${args.join(" ")} failed:\n${said}${complained}`);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }
}

/** The version of a Symfony as "5.4". */
export async function versionOf(symfony: SymfonyVersion): Promise<string> {
  if (symfony !== "Debian's") return symfony;
  const kernel = await Deno.readTextFile("/usr/share/php/Symfony/Component/HttpKernel/Kernel.php");
  return /const VERSION = '(\d+\.\d+)\./.exec(kernel)![1]!;
}

/** Of messenger:consume, and of php-fpm. */
export const MEMORY_LIMIT = "64M";

async function composerAutoload(version: SymfonyVersion): Promise<string> {
  const autoload = `${ROOT}.tools/symfony-${version}/vendor/autoload.php`;
  await Deno.stat(autoload).catch(() => {
    throw new Error(`Cannot find Symfony ${version} of Composer: run scripts/setup slow`);
  });
  return `<?php

$loader = require '${autoload}';
$loader->addPsr4('App\\\\', dirname(__DIR__).'/src/');
$bundle = __DIR__.'/fervo/deferred-event-bundle';
if (is_dir($bundle)) {
    $loader->addPsr4('Fervo\\\\DeferredEventBundle\\\\', $bundle.'/src/');
    $loader->addPsr4('Fervo\\\\Runner\\\\', $bundle.'/runner/');
}

return $loader;
`;
}
