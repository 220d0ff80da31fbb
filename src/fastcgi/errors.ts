import { FervoError } from "../core/errors.ts";
import { type FastCgiAddress, formatAddress } from "./address.ts";

/** A FastCGI request failed. Codes FASTCGI_*. */
export class FastCgiError extends FervoError {}

/** The connection ended before the answer did. Code FASTCGI_CONNECTION_LOST. */
export class ConnectionLostError extends FastCgiError {
  /** Bytes of the answer that arrived, record headers included. */
  readonly responseBytes: number;
  /** Whether the connection had served an earlier request. */
  readonly isReused: boolean;
  /** From the write of the request to the end, milliseconds. */
  readonly afterMs: number;
  /**
   * The other side left some of our bytes unread. A php-fpm child does so when it dies while it runs a request, or leaves just
   * when a request arrives; one that reaches pm.max_requests closes in order.
   */
  readonly isReset: boolean;
  /** By the latest observation the request had not begun: its child still ran the previous one. */
  readonly isWaiting: boolean;

  constructor(
    address: FastCgiAddress,
    reason: string,
    facts: {
      responseBytes: number;
      isReused: boolean;
      afterMs: number;
      isReset: boolean;
      isWaiting?: boolean;
      stderr: string;
    },
  ) {
    super(
      "FASTCGI_CONNECTION_LOST",
      `Lost the connection to "${formatAddress(address)}" before the answer was complete: ${reason}`,
      { details: { responseBytes: facts.responseBytes, ...(facts.stderr && { stderr: facts.stderr }) } },
    );
    this.responseBytes = facts.responseBytes;
    this.isReused = facts.isReused;
    this.afterMs = facts.afterMs;
    this.isReset = facts.isReset;
    this.isWaiting = facts.isWaiting ?? false;
  }
}

export function firstByteTimedOut(address: FastCgiAddress, timeoutMs: number): FastCgiError {
  return new FastCgiError(
    "FASTCGI_FIRST_BYTE_TIMEOUT",
    `"${formatAddress(address)}" sent nothing of the answer in ${timeoutMs} ms (first_byte_timeout_ms)`,
  );
}

/** @param current The id of the current request; undefined without one. */
export function unexpectedRecord(
  { type, requestId }: { readonly type: number; readonly requestId: number },
  current: number | undefined,
): FastCgiError {
  const underWay = current === undefined ? "no request is under way" : `request "${current}" is under way`;
  return new FastCgiError(
    "FASTCGI_PROTOCOL",
    `Cannot read the answer: a record of type ${type} for request "${requestId}" came, and ${underWay}`,
  );
}
