/** A collector of traces that speaks OTLP/HTTP with JSON, and keeps what it is sent. */
import { eventually } from "./eventually.ts";

/** A span, its attributes by name. */
export interface ReceivedSpan {
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly name: string;
  readonly kind: number;
  readonly startMs: number;
  readonly endMs: number;
  readonly status: { readonly code?: number; readonly message?: string };
  readonly attributes: Readonly<Record<string, string | number>>;
  /** Of the worker. */
  readonly resource: Readonly<Record<string, string | number>>;
}

type Answer = (request: Request) => Response | Promise<Response>;

export class OtlpReceiver implements AsyncDisposable {
  readonly spans: ReceivedSpan[] = [];
  readonly requests: { readonly path: string; readonly headers: Headers; readonly spans: number }[] = [];
  /** How it answers; what it does not answer with 200 it does not keep. */
  answer: Answer = () => Response.json({ partialSuccess: {} });
  readonly #server: Deno.HttpServer<Deno.NetAddr>;

  constructor(options: { port?: number } = {}) {
    const listen = { hostname: "127.0.0.1", port: options.port ?? 0, onListen: () => {} };
    this.#server = Deno.serve(listen, (request) => this.#take(request));
  }

  get port(): number {
    return this.#server.addr.port;
  }

  get endpoint(): string {
    return `http://127.0.0.1:${this.port}/v1/traces`;
  }

  /** Resolves when it has so many spans. */
  async received(count: number): Promise<readonly ReceivedSpan[]> {
    await eventually(`${count} spans are exported`, () => this.spans.length >= count);
    return this.spans;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#server.shutdown();
  }

  async #take(request: Request): Promise<Response> {
    const { pathname } = new URL(request.url);
    const body = await request.json();
    const spans = spansOf(body);
    this.requests.push({ path: pathname, headers: request.headers, spans: spans.length });
    const answer = await this.answer(request);
    if (answer.ok) this.spans.push(...spans);
    return answer;
  }
}

// deno-lint-ignore no-explicit-any -- what a peer has sent; a field that is missing fails the test that looks at it
function spansOf(body: any): ReceivedSpan[] {
  // deno-lint-ignore no-explicit-any
  const spans: any[] = body.resourceSpans[0].scopeSpans[0].spans;
  const resource = attributesOf(body.resourceSpans[0].resource.attributes);
  return spans.map(({ startTimeUnixNano, endTimeUnixNano, attributes, ...span }) => ({
    ...span,
    startMs: Number(startTimeUnixNano) / 1e6,
    endMs: Number(endTimeUnixNano) / 1e6,
    attributes: attributesOf(attributes),
    resource,
  }));
}

interface KeyValue {
  readonly key: string;
  readonly value: { stringValue?: string; intValue?: string; doubleValue?: number };
}

function attributesOf(list: readonly KeyValue[]): Record<string, string | number> {
  return Object.fromEntries(
    list.map(({ key, value }) => [key, value.stringValue ?? value.doubleValue ?? Number(value.intValue)]),
  );
}
