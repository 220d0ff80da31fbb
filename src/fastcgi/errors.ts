import { FervoError } from "../core/errors.ts";
import { type FastCgiAddress, formatAddress } from "./address.ts";

/** A FastCGI request could not be carried out. Codes FASTCGI_*. */
export class FastCgiError extends FervoError {}

/** The connection ended before the answer did. Code FASTCGI_CONNECTION_LOST. */
export class ConnectionLostError extends FastCgiError {
  /** Bytes of the answer that had come, record headers included. */
  readonly responseBytes: number;
  /** Whether the connection had served an earlier request. */
  readonly isReused: boolean;
  /** From writing the request to the end, milliseconds. */
  readonly afterMs: number;
  /**
   * The other side left with bytes of ours unread. Of php-fpm's children those do that which die while they run a request,
   * and those that leave just when one comes; one that reaches pm.max_requests closes in order.
   */
  readonly isReset: boolean;
  /** The request was not begun, by the latest that was seen: its child went on with the one before. */
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

/** @param current The id of the request under way; undefined when none is. */
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
