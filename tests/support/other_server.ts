/**
 * FastCGI servers that are not PHP, each of its own make: started in a private folder, gone with the scope that holds
 * them. All run the same application, answer.sh.
 */
import { reasonOf } from "../../src/core/errors.ts";

/** What a server does with the application's output, and with the connection. */
export interface OtherServerKind {
  readonly name: "fcgiwrap" | "Net::Async::FastCGI" | "uWSGI";
  /** Leaves a connection open when it is asked to. */
  readonly keepsConnections: boolean;
  /** Sends STDERR to the client; else it is in its own log. */
  readonly sendsStderr: boolean;
  /** Sends the application's exit status; else 0. */
  readonly sendsExitStatus: boolean;
  /** The Debian package. */
  readonly package: string;
  readonly command: (files: { socket: string; application: string }) => [string, ...string[]];
  readonly application: "answer.sh" | "answer_async.pl";
}

/** Requests that a server can run at the same time. */
const PROCESSES = "4";

/** CGI programs through libfcgi, Open Market's own library. */
export const FCGIWRAP: OtherServerKind = {
  name: "fcgiwrap",
  keepsConnections: true,
  sendsStderr: true,
  sendsExitStatus: false,
  package: "fcgiwrap",
  command: ({ socket }) => ["fcgiwrap", "-f", "-c", PROCESSES, "-s", `unix:${socket}`],
  application: "answer.sh",
};

/** One event loop, which can multiplex. */
export const NET_ASYNC_FASTCGI: OtherServerKind = {
  name: "Net::Async::FastCGI",
  keepsConnections: true,
  sendsStderr: true,
  sendsExitStatus: true,
  package: "libnet-async-fastcgi-perl",
  command: ({ socket, application }) => ["perl", application, socket],
  application: "answer_async.pl",
};

/** CGI programs (its plugin 9); closes after each answer, whatever it is asked. */
export const UWSGI: OtherServerKind = {
  name: "uWSGI",
  keepsConnections: false,
  sendsStderr: false,
  sendsExitStatus: false,
  package: "uwsgi-core",
  command: ({ socket, application }) => [
    "uwsgi-core",
    "--plugin=cgi",
    `--fastcgi-socket=${socket}`,
    "--fastcgi-modifier1=9",
    `--cgi=${application}`,
    "--master",
    `--processes=${PROCESSES}`,
  ],
  application: "answer.sh",
};

const START_DEADLINE_MS = 20_000;
const POLL_MS = 10;

/**
 * One server, listening on a unix socket.
 *
 * ```ts
 * await using server = await OtherServer.start(FCGIWRAP);
 * ```
 */
export class OtherServer implements AsyncDisposable {
  readonly #kind: OtherServerKind;
  readonly #directory: string;
  #process: Deno.ChildProcess | undefined;
  #log = Promise.resolve("");

  private constructor(kind: OtherServerKind, directory: string) {
    this.#kind = kind;
    this.#directory = directory;
  }

  /** @throws {Error} when the server is not installed, with what to install, or when it does not start, with its log. */
  static async start(kind: OtherServerKind): Promise<OtherServer> {
    const server = new OtherServer(kind, await Deno.makeTempDir({ prefix: "fervo-other-" }));
    try {
      await Deno.copyFile(new URL(kind.application, import.meta.url), server.script);
      await Deno.chmod(server.script, 0o700);
      await server.restart();
      return server;
    } catch (error) {
      await server[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** Where it listens, as `parseAddress` reads it. The same after a restart. */
  get address(): string {
    return `${this.#directory}/server.sock`;
  }

  /** The application's absolute path, for SCRIPT_FILENAME. */
  get script(): string {
    return `${this.#directory}/${this.#kind.application}`;
  }

  /** Ends it at once, and all processes that it has started; its socket no longer answers. Returns its log. Idempotent. */
  async stop(): Promise<string> {
    const process = this.#process;
    this.#process = undefined;
    if (process !== undefined) {
      // Some of these servers leave their children behind when they are asked to end.
      Deno.kill(-process.pid, "SIGKILL");
      await process.status;
      // The children that it leaves may take a moment longer, and hold the socket until then.
      while (await this.#isListening()) await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
    return await this.#log;
  }

  /** Starts it at the same address; stops it first when it runs. */
  async restart(): Promise<void> {
    await this.stop();
    await Deno.remove(this.address).catch(() => {});
    const process = this.#spawn();
    this.#process = process;
    this.#log = process.stderr.text();
    let hasExited = false;
    void process.status.then(() => hasExited = true);
    const deadlineMs = performance.now() + START_DEADLINE_MS;
    while (!await this.#isListening()) {
      if (hasExited) {
        this.#process = undefined;
        const { name, package: debian } = this.#kind;
        throw new Error(`${name} did not start; is "${debian}" installed?\n${await this.#log}`);
      }
      if (performance.now() > deadlineMs) {
        throw new Error(`${this.#kind.name} did not start in ${START_DEADLINE_MS} ms:\n${await this.stop()}`);
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.stop();
    } finally {
      await Deno.remove(this.#directory, { recursive: true });
    }
  }

  #spawn(): Deno.ChildProcess {
    const [command, ...args] = this.#kind.command({ socket: this.address, application: this.script });
    const path = `${Deno.env.get("PATH") ?? ""}:/usr/local/sbin:/usr/sbin`;
    try {
      return new Deno.Command(command, {
        args,
        env: { PATH: path },
        stdin: "null",
        stdout: "null",
        stderr: "piped",
        detached: true,
      }).spawn();
    } catch (error) {
      throw new Error(
        `Cannot run ${this.#kind.name}: ${
          reasonOf(error)
        }; install it, e.g. "apt-get install ${this.#kind.package}" ` +
          `on Debian and Ubuntu`,
      );
    }
  }

  async #isListening(): Promise<boolean> {
    try {
      (await Deno.connect({ transport: "unix", path: this.address })).close();
      return true;
    } catch {
      return false;
    }
  }
}
