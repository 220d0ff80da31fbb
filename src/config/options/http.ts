import { isLoopback } from "../../net/address.ts";
import { parseAddress } from "../../fastcgi/address.ts";
import type { Path, Problem } from "../problems.ts";

/** How the values of `[http]` fit together. */
export function checkHttp(http: Readonly<Record<string, unknown>>, path: Path): Problem[] {
  const { listen, token, token_file } = http;
  const problems: Problem[] = [];
  const tell = (key: string, text: string) => problems.push({ path: [...path, key], text });
  if (isFilled(token) && isFilled(token_file)) {
    tell("token_file", "there are a token and a token_file: remove one");
  }
  for (const [key, value] of [["token", token], ["token_file", token_file]] as const) {
    if (isFilled(value) && !isFilled(listen)) {
      tell(key, `${key} has no effect without an address: set listen = "127.0.0.1:9102", or remove it`);
    }
  }
  if (isFilled(listen) && !isFilled(token) && !isFilled(token_file) && isOpenToOthers(listen)) {
    tell(
      "listen",
      "other machines can reach this address, and queues and errors are to be seen there: set a token or a token_file, " +
        'or listen at "127.0.0.1:9102" or on a socket',
    );
  }
  return problems;
}

function isFilled(value: unknown): value is string {
  return typeof value === "string" && value !== "";
}

/** False also for what is no address. */
function isOpenToOthers(text: string): boolean {
  try {
    const address = parseAddress(text);
    return address.transport === "tcp" && !isLoopback(address.hostname);
  } catch {
    return false;
  }
}
