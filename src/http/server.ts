import type { SocketAddress } from "../core/address.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { isToken, TOKEN_RULE } from "../core/token.ts";
import { type Guard, localGuard, tokenGuard } from "./guard.ts";
import { listen, type Listening } from "./listen.ts";

export interface HttpServerOptions {
  readonly listen: SocketAddress;
  /** What requests have to show; undefined for none, unless there is a file with one. */
  readonly token: string | undefined;
  /** A file with the token; undefined for none. */
  readonly tokenFile: string | undefined;
}

/** Answers a request for one path. */
export type Endpoint = () => Response | Promise<Response>;

/**
 * Serves what a worker tells about itself.
 *
 * 1. Answers GET and HEAD, and only the paths it was given.
 * 2. Lets nobody in without the token, where there is one; a socket's file is its owner's alone.
 */
export class HttpServer implements AsyncDisposable {
  readonly #listening: Listening;
  readonly #end: AbortController;
  #closed: Promise<void> | undefined;

  private constructor(listening: Listening, end: AbortController) {
    this.#listening = listening;
    this.#end = end;
  }

  /** @throws {FervoError} CONFIG_INVALID when the address or the token's file cannot be used */
  static async start(
    endpoints: Readonly<Record<string, Endpoint>>,
    options: HttpServerOptions,
  ): Promise<HttpServer> {
    const token = options.token ?? (options.tokenFile && await readToken(options.tokenFile));
    const guards: Guard[] = [];
    if (token) guards.push(tokenGuard(token));
    else if (options.listen.transport === "tcp") guards.push(localGuard);
    const end = new AbortController();
    const handler = (request: Request) => answer(request, guards, endpoints);
    return new HttpServer(await listen(options.listen, handler, end.signal), end);
  }

  /** Closes it, with all connections. Idempotent. */
  close(): Promise<void> {
    return this.#closed ??= this.#close();
  }

  async #close(): Promise<void> {
    this.#end.abort();
    await this.#listening.server.finished;
    await this.#listening.remove?.();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function answer(
  request: Request,
  guards: readonly Guard[],
  endpoints: Readonly<Record<string, Endpoint>>,
): Promise<Response> {
  const response = guards.map((guard) => guard(request)).find((refusal) => refusal !== undefined) ??
    await ask(request, endpoints);
  response.headers.set("cache-control", "no-store");
  response.headers.set("x-content-type-options", "nosniff");
  return response;
}

async function ask(request: Request, endpoints: Readonly<Record<string, Endpoint>>): Promise<Response> {
  const { pathname } = new URL(request.url);
  if (!Object.hasOwn(endpoints, pathname)) {
    return new Response(`not found; there is ${Object.keys(endpoints).join(", ")}\n`, { status: 404 });
  }
  if (request.method !== "GET" && request.method !== "HEAD") {
    return new Response("method not allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  return await endpoints[pathname]!();
}

async function readToken(path: string): Promise<string> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    throw new FervoError("CONFIG_INVALID", `Cannot read the token_file "${path}": ${reasonOf(cause)}`, {
      cause,
    });
  }
  const token = text.trim();
  if (isToken(token)) return token;
  throw new FervoError("CONFIG_INVALID", `The token_file "${path}" holds no token: expected ${TOKEN_RULE}`);
}
