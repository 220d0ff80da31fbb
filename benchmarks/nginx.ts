/** nginx and wrk, as an independent harness: another FastCGI client on the same php-fpm pool and script. */
import { reasonOf } from "../src/core/errors.ts";

export interface NginxOptions {
  /** Where php-fpm listens: a socket's path, or host and port. */
  readonly fpmAddress: string;
  /** SCRIPT_FILENAME. */
  readonly script: string;
  /** Connections to php-fpm that are kept open, and of wrk to nginx. */
  readonly connections: number;
}

/** One nginx in the foreground, with all of its files in a folder of its own. */
export class Nginx implements AsyncDisposable {
  readonly #directory: string;
  readonly #process: Deno.ChildProcess;
  readonly #connections: number;

  private constructor(directory: string, process: Deno.ChildProcess, connections: number) {
    this.#directory = directory;
    this.#process = process;
    this.#connections = connections;
  }

  static async start(options: NginxOptions): Promise<Nginx> {
    const directory = await Deno.makeTempDir({ prefix: "fervo-nginx-" });
    const file = `${directory}/nginx.conf`;
    await Deno.writeTextFile(file, configuration(directory, options));
    let process;
    try {
      process = new Deno.Command("nginx", {
        args: ["-c", file, "-e", `${directory}/error.log`],
        stdout: "null",
        stderr: "inherit",
      }).spawn();
    } catch (error) {
      throw new Error(`Cannot start nginx: ${reasonOf(error)}; install it: apt-get install nginx-light wrk`);
    }
    const nginx = new Nginx(directory, process, options.connections);
    for (;;) {
      try {
        (await Deno.connect({ hostname: HOST, port: PORT })).close();
        return nginx;
      } catch {
        await new Promise((resolve) => setTimeout(resolve, 20));
      }
    }
  }

  /** Requests a second over so many seconds; fails when one was not answered with 200. */
  async measure(seconds: number): Promise<number> {
    const { stdout } = await new Deno.Command("wrk", {
      args: ["-t1", `-c${this.#connections}`, `-d${seconds}s`, `http://${HOST}:${PORT}/`],
    }).output();
    const text = new TextDecoder().decode(stdout);
    const rate = /Requests\/sec:\s*([\d.]+)/.exec(text)?.[1];
    if (rate === undefined || /Non-2xx|Socket errors/.test(text)) throw new Error(`wrk: ${text}`);
    return Number(rate);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#process.kill("SIGTERM");
    await this.#process.status;
    await Deno.remove(this.#directory, { recursive: true });
  }
}

const HOST = "127.83.21.7"; // all of 127.0.0.0/8 is this machine; nobody else uses this one
const PORT = 8083;

function configuration(directory: string, { fpmAddress, script, connections }: NginxOptions): string {
  const upstream = fpmAddress.startsWith("/") ? `unix:${fpmAddress}` : fpmAddress;
  return `
daemon off;
worker_processes auto;
${Deno.uid() === 0 ? "user root;" : ""}
pid ${directory}/nginx.pid;
error_log ${directory}/error.log;
events { worker_connections 1024; }
http {
  access_log off;
  ${
    ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"].map((use) => `${use}_temp_path ${directory}/${use};`)
      .join(" ")
  }
  upstream fpm { server ${upstream}; keepalive ${connections}; }
  keepalive_requests 100000000;
  server {
    listen ${HOST}:${PORT};
    location / {
      fastcgi_pass fpm;
      fastcgi_keep_conn on;
      fastcgi_param GATEWAY_INTERFACE CGI/1.1;
      fastcgi_param SERVER_PROTOCOL HTTP/1.1;
      fastcgi_param SERVER_SOFTWARE nginx;
      fastcgi_param REQUEST_METHOD $request_method;
      fastcgi_param SCRIPT_FILENAME ${script};
      fastcgi_param SCRIPT_NAME $uri;
      fastcgi_param REQUEST_URI $request_uri;
      fastcgi_param QUERY_STRING "";
      fastcgi_param CONTENT_LENGTH $content_length;
      fastcgi_param FERVO_JOB_ID 1;
      fastcgi_param FERVO_QUEUE bench;
    }
  }
}
`;
}
