import { createHash } from "node:crypto";

const ROOT = new URL("../../", import.meta.url).pathname;

/**
 * Stands for Deno's download server, with a deno and a denort that can be had without it: what `scripts/setup denort` gets from npm. The
 * one for arm64 is the same file: a binary is written onto it, and not run.
 */
export class DenoServer implements AsyncDisposable {
  /** What its runtime says of itself. */
  static readonly VERSION = "2.6.10";
  static readonly TRIPLES = ["x86_64-unknown-linux-gnu", "aarch64-unknown-linux-gnu"] as const;

  readonly #server: Deno.HttpServer<Deno.NetAddr>;
  readonly #folder: string;
  readonly #files: Map<string, Uint8Array<ArrayBuffer>>;
  /** The paths that were asked for. */
  readonly requests: string[] = [];

  /** The runtime in its archives. */
  readonly runtime: string;

  private constructor(folder: string, files: Map<string, Uint8Array<ArrayBuffer>>, runtime: string) {
    this.#folder = folder;
    this.runtime = runtime;
    this.#files = files;
    this.#server = Deno.serve({ hostname: "127.0.0.1", port: 0, onListen: () => {} }, (request) => {
      const path = new URL(request.url).pathname;
      this.requests.push(path);
      const bytes = this.#files.get(path);
      return bytes === undefined ? new Response(null, { status: 404 }) : new Response(bytes);
    });
  }

  static async start(): Promise<DenoServer> {
    const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-deno-" });
    const runtime = await npmRuntime(folder);
    // The newest Deno bundles, and the one of npm's runtime compiles onto it.
    const compiler = `${runtime}/node_modules/@deno/linux-x64-glibc/deno`;
    const script = `#!/bin/sh\n[ "$1" = bundle ] && exec ${Deno.execPath()} "$@"\nexec ${compiler} "$@"\n`;
    await Deno.writeTextFile(`${folder}/deno`, script);
    const deno = await zipped(folder, `${folder}/deno`);
    const denort = await zipped(folder, `${runtime}/denort`);
    const files = new Map<string, Uint8Array<ArrayBuffer>>();
    for (const triple of DenoServer.TRIPLES) {
      files.set(`/release/v${DenoServer.VERSION}/deno-${triple}.zip`, deno);
      files.set(`/release/v${DenoServer.VERSION}/denort-${triple}.zip`, denort);
    }
    return new DenoServer(folder, files, `${runtime}/denort`);
  }

  get url(): string {
    return `http://127.0.0.1:${this.#server.addr.port}`;
  }

  /** The SHA-256 of each archive, in the form of scripts/deno-release.sha256. */
  get pins(): string {
    return [...this.#files].filter(([path]) => path.endsWith(".zip"))
      .map(([path, bytes]) => `${sha256(bytes)}  ${path.slice("/release/".length)}\n`).join("");
  }

  /** Has the server tell the SHA-256 of each archive, as Deno's does. */
  addSums(): void {
    for (const [path, bytes] of [...this.#files]) {
      this.replace(
        `${path}.sha256sum`,
        new TextEncoder().encode(`${sha256(bytes)}  ${path.split("/").at(-1)}\n`),
      );
    }
  }

  remove(path: string): void {
    this.#files.delete(path);
  }

  replace(path: string, bytes: Uint8Array<ArrayBuffer>): void {
    this.#files.set(path, bytes);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/**
 * The folder with npm's runtime: the one of this checkout where it is there. Else it is downloaded into `folder`, as its presence in this
 * checkout would decide what scripts/compile takes.
 */
async function npmRuntime(folder: string): Promise<string> {
  const own = `${ROOT}.tools/denort`;
  if (await Deno.stat(`${own}/denort`).then(() => true, () => false)) return own;
  await run("cp", "-a", `${ROOT}scripts`, folder);
  await run(`${folder}/scripts/setup`, "denort");
  return `${folder}/.tools/denort`;
}

async function run(program: string, ...args: string[]): Promise<void> {
  const { success, stderr } = await new Deno.Command(program, { args, stdin: "null" }).output();
  if (!success) throw new Error(`${program} has failed: ${new TextDecoder().decode(stderr)}`);
}

/** A zip archive of one file, which is in it under its bare name. */
async function zipped(folder: string, file: string): Promise<Uint8Array<ArrayBuffer>> {
  const archive = `${folder}/${file.split("/").at(-1)}.zip`;
  await run("zip", "-q", "-0", "--junk-paths", archive, file);
  return await Deno.readFile(archive);
}

function sha256(bytes: Uint8Array): string {
  return createHash("sha256").update(bytes).digest("hex");
}
