import type { SocketAddress } from "../net/address.ts";

export { formatAddress, parseAddress } from "../net/address.ts";

/** Where a FastCGI server listens. */
export type FastCgiAddress = SocketAddress;
