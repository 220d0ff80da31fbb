import type { SocketAddress } from "../net/address.ts";
import { fileReason } from "../core/text/file_error.ts";
import type { Clock } from "../core/time/clock.ts";
import { FervoError } from "../core/errors.ts";
import { isToken, TOKEN_RULE } from "../core/text/token.ts";
import { type Guard, localGuard, tokenGuard } from "./guard.ts";
import type { RequestHead } from "./http1.ts";
import { listen, type Listening } from "./listen.ts";

export interface HttpServerDeps {
  readonly clock: Clock;
  /** By path. */
  readonly endpoints: Readonly<Record<string, Endpoint>>;
  /** By path: endpoints without a token. They must be fit for everybody. */
  readonly open?: Readonly<Record<string, Endpoint>>;
  /** Called once when nobody can connect, until somebody can again. */
  readonly onUnavailable: (error: unknown) => void;
}

export interface HttpServerOptions {
  readonly listen: SocketAddress;
  /** The token that requests need; undefined without one, unless there is a token file. */
  readonly token: string | undefined;
  /** A file with the token; undefined for none. */
  readonly tokenFile: string | undefined;
}

/** Answers a request for one path. */
export type Endpoint = () => Response | Promise<Response>;

/**
 * Serves a worker's metrics and health.
 *
 * 1. Answers GET and HEAD, and only the given paths.
 * 2. Requires the token, if there is one; a socket's file is open to its owner only.
 * 3. No client can keep others out, or take more than a bounded part of the worker's memory and descriptors.
 */
export class HttpServer implements AsyncDisposable {
  readonly #listening: Listening;
  #closed: Promise<void> | undefined;

  private constructor(listening: Listening) {
    this.#listening = listening;
  }

  /** @throws {FervoError} LISTEN_FAILED when the address or the token's file cannot be used */
  static async start(
    { endpoints, open = {}, ...deps }: HttpServerDeps,
    options: HttpServerOptions,
  ): Promise<HttpServer> {
    const token = options.token ?? (options.tokenFile && await readToken(options.tokenFile));
    const guards: Guard[] = [];
    if (token) guards.push(tokenGuard(token));
    else if (options.listen.transport === "tcp") guards.push(localGuard);
    const handler = (request: RequestHead) => answer(request, guards, { endpoints, open });
    return new HttpServer(await listen(options.listen, { ...deps, handler }));
  }

  /** Closes it, with all connections. Idempotent. */
  close(): Promise<void> {
    return this.#closed ??= this.#listening.close();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }
}

async function answer(
  request: RequestHead,
  guards: readonly Guard[],
  { endpoints, open }: Required<Pick<HttpServerDeps, "endpoints" | "open">>,
): Promise<Response> {
  const refusal = guards.map((guard) => guard(request)).find((refusal) => refusal !== undefined);
  const isOpen = refusal?.status === 401 && Object.hasOwn(open, request.path);
  const response = isOpen ? await ask(request, open) : refusal ?? await ask(request, endpoints);
  response.headers.set("cache-control", "no-store");
  response.headers.set("x-content-type-options", "nosniff");
  return response;
}

async function ask(
  { method, path }: RequestHead,
  endpoints: Readonly<Record<string, Endpoint>>,
): Promise<Response> {
  if (!Object.hasOwn(endpoints, path)) {
    return new Response(`not found; there is ${Object.keys(endpoints).join(", ")}\n`, { status: 404 });
  }
  if (method !== "GET" && method !== "HEAD") {
    return new Response("method not allowed\n", { status: 405, headers: { allow: "GET, HEAD" } });
  }
  return await endpoints[path]!();
}

/** @throws {FervoError} CONFIG_INVALID when the file cannot be read, or has no token */
export async function readToken(path: string): Promise<string> {
  let text: string;
  try {
    text = await Deno.readTextFile(path);
  } catch (cause) {
    throw new FervoError("LISTEN_FAILED", `Cannot read the token_file "${path}": ${fileReason(cause)}`, {
      cause,
    });
  }
  const token = text.trim();
  if (isToken(token)) return token;
  throw new FervoError("LISTEN_FAILED", `The token_file "${path}" holds no token: expected ${TOKEN_RULE}`);
}
