/** HTTP as a scraper speaks it, without the liberties of a browser: any address, any Host, any header. */
export interface HttpAnswer {
  readonly status: number;
  readonly headers: Headers;
  readonly body: string;
}

export interface HttpQuestion {
  readonly method?: string;
  readonly headers?: Readonly<Record<string, string>>;
}

/** @param at Host and port, or a socket's path. */
export async function ask(at: string, path: string, question: HttpQuestion = {}): Promise<HttpAnswer> {
  using connection = await connect(at);
  const headers = { host: at.startsWith("/") ? "localhost" : at, connection: "close", ...question.headers };
  const lines = [
    `${question.method ?? "GET"} ${path} HTTP/1.1`,
    ...Object.entries(headers).map(([name, value]) => `${name}: ${value}`),
  ];
  await connection.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  const text = await new Response(connection.readable).text();
  const end = text.indexOf("\r\n\r\n");
  const [first, ...rest] = text.slice(0, end).split("\r\n");
  const answered = new Headers(rest.map((line) => line.split(/: ?(.*)/, 2) as [string, string]));
  const raw = text.slice(end + 4);
  const body = answered.get("transfer-encoding") === "chunked" ? unchunked(raw) : raw;
  return { status: Number(first!.split(" ")[1]), headers: answered, body };
}

export async function connect(at: string): Promise<Deno.Conn> {
  if (at.startsWith("/")) return await Deno.connect({ transport: "unix", path: at });
  const [hostname, port] = at.split(":");
  return await Deno.connect({ hostname: hostname!, port: Number(port) });
}

function unchunked(text: string): string {
  let [body, at] = ["", 0];
  for (;;) {
    const lineEnd = text.indexOf("\r\n", at);
    const length = Number.parseInt(text.slice(at, lineEnd), 16);
    if (length === 0) return body;
    body += text.slice(lineEnd + 2, lineEnd + 2 + length);
    at = lineEnd + 2 + length + 2;
  }
}
