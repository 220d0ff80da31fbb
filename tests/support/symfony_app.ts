/**
 * The Symfony example as an application of its own: a copy in a temporary folder, on Debian's packages of Symfony instead
 * of Composer's vendor/, for tests, benchmarks and the demo.
 */
import { copy } from "./copy_folder.ts";
import { eventually } from "./eventually.ts";
import { privateLoopback } from "./php_fpm.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const WEB_PORT = 8_000;

export interface SymfonyAppOptions {
  /** For .env.local, beside `APP_ENV=prod`. */
  readonly env?: Readonly<Record<string, string>>;
  /** Folders with further files of the application, copied over the example's. */
  readonly overlays?: readonly string[];
}

/** A line of the journal: who has done what. */
export interface JournalEntry {
  readonly process: number;
  /** PHP's name of its surroundings: "fpm-fcgi", "cli-server" or "cli". */
  readonly sapi: string;
  readonly text: string;
}

/**
 * One application.
 *
 * 1. Its files are a copy: what a test writes into it touches nothing else.
 * 2. Its container is built when it is handed out, as a deployment does it.
 * 3. Serves HTTP on a loopback address of its own, on request.
 * 4. Is gone with its scope, the HTTP server, too.
 */
export class SymfonyApp implements AsyncDisposable {
  readonly directory: string;
  #web: Deno.ChildProcess | undefined;

  private constructor(directory: string) {
    this.directory = directory;
  }

  /** @throws {Error} when Symfony is not installed or the application does not start, with what PHP says. */
  static async create(options: SymfonyAppOptions = {}): Promise<SymfonyApp> {
    const app = new SymfonyApp(await Deno.makeTempDir({ prefix: "fervo-symfony-" }));
    try {
      await app.#install(options);
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

  /** Where the application looks for its embedded queue. */
  get queueFile(): string {
    return `${this.directory}/var/queue.sqlite`;
  }

  /** Writes a file of the application; the container is not built anew. */
  async write(path: string, text: string): Promise<void> {
    await Deno.writeTextFile(`${this.directory}/${path}`, text);
  }

  /** symfony/runtime, as its plugin of Composer adds it, with `extra.runtime` of composer.json. */
  async addRuntime(options: Readonly<Record<string, string>>): Promise<void> {
    const template = await Deno.readTextFile(
      "/usr/share/php/Symfony/Component/Runtime/Internal/autoload_runtime.template",
    );
    const entries = Object.entries(options).map(([name, value]) => `'${name}' => '${value}',`);
    await this.write(
      "vendor/autoload_runtime.php",
      template
        .replaceAll("%runtime_class%", "'Symfony\\\\Component\\\\Runtime\\\\SymfonyRuntime'")
        .replaceAll("%runtime_options%", `[${entries.join(" ")} 'project_dir' => dirname(__DIR__)]`),
    );
  }

  /** The output of `bin/console …`; fails unless it exits with 0. */
  async console(...args: readonly string[]): Promise<string> {
    const console = new Deno.Command("php", { args: [`${this.directory}/bin/console`, ...args] });
    const { success, stdout, stderr } = await console.output();
    const said = new TextDecoder().decode(stdout);
    if (success) return said;
    throw new Error(`bin/console ${args.join(" ")} failed:\n${said}${new TextDecoder().decode(stderr)}`);
  }

  /** Starts PHP's own web server; returns the address before the path. */
  async serve(): Promise<string> {
    const hostname = privateLoopback();
    const root = `${this.directory}/public`;
    this.#web = new Deno.Command("php", {
      args: ["-S", `${hostname}:${WEB_PORT}`, "-t", root, `${root}/index.php`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    await eventually("PHP's web server listens", async () => {
      try {
        (await Deno.connect({ hostname, port: WEB_PORT })).close();
        return true;
      } catch {
        return false;
      }
    });
    return `http://${hostname}:${WEB_PORT}`;
  }

  /** All that the listeners have written so far, in order. */
  async journal(): Promise<JournalEntry[]> {
    const text = await Deno.readTextFile(`${this.directory}/var/journal.log`).catch(() => "");
    return [...text.matchAll(/^\S+ process (\d+) \((\S+)\): (.*)$/gm)]
      .map(([, process, sapi, text]) => ({ process: Number(process), sapi: sapi!, text: text! }));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#web?.kill("SIGTERM");
    await this.#web?.status;
    await Deno.remove(this.directory, { recursive: true });
  }

  async #install({ env = {}, overlays = [] }: SymfonyAppOptions): Promise<void> {
    for (const folder of [`${ROOT}examples/symfony`, ...overlays]) await copy(folder, this.directory);
    await Deno.mkdir(`${this.directory}/var`, { recursive: true });
    await Deno.mkdir(`${this.directory}/vendor/fervo`, { recursive: true });
    await copy(`${ROOT}tests/support/symfony_vendor`, `${this.directory}/vendor`);
    // As Composer does it with a package in a folder.
    await Deno.symlink(`${ROOT}php/bundle`, `${this.directory}/vendor/fervo/deferred-event-bundle`);
    const lines = Object.entries({ APP_ENV: "prod", ...env }).map(([name, value]) => `${name}='${value}'\n`);
    await this.write(".env.local", lines.join(""));
    await this.console("cache:warmup", "--quiet");
  }
}
