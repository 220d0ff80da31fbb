import { isLoopback } from "../../net/address.ts";
import { parseAddress } from "../../fastcgi/address.ts";
import type { ConfigFile } from "../schema.ts";
import { problem, type Problems, type Table } from "../tables.ts";

/** Checks that the values of `[http]` fit together. */
export function* checkHttp(http: Table<ConfigFile["http"]>): Problems {
  const { token, token_file } = http.value;
  if (token !== "" && token_file !== "") {
    yield problem(http, "token_file", "set either token or token_file, not both");
  }
  const { listen } = http.value;
  if (listen === "") {
    for (const key of ["token", "token_file"] as const) {
      if (http.value[key] === "") continue;
      const text = `${key} has no effect without an address: set listen = "127.0.0.1:9102", or remove it`;
      yield problem(http, key, text);
    }
  } else if (token === "" && token_file === "" && isOpenToOthers(listen)) {
    const text =
      "other machines can reach this address, which shows queues and errors: set token or token_file, " +
      'or listen at "127.0.0.1:9102" or on a socket';
    yield problem(http, "listen", text);
  }
}

function isOpenToOthers(listen: string): boolean {
  const address = parseAddress(listen);
  return address.transport === "tcp" && !isLoopback(address.hostname);
}
