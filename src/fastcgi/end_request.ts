import { type FastCgiAddress, formatAddress } from "./address.ts";
import { FastCgiError } from "./errors.ts";
import { ProtocolStatus } from "./record.ts";

/** How a request ended, by FCGI_EndRequestBody (specification, section 5.5). */
export interface RequestEnd {
  /** The application's exit status. */
  readonly appStatus: number;
  /** One of {@link ProtocolStatus}. */
  readonly protocolStatus: number;
}

const BODY_BYTES = 8;

/** The content of an END_REQUEST record, in pieces as it arrives. */
export class EndRequest {
  readonly #body = new Uint8Array(BODY_BYTES);
  #bytes = 0;

  add(piece: Uint8Array): void {
    const room = BODY_BYTES - this.#bytes;
    this.#body.set(piece.subarray(0, room), this.#bytes);
    this.#bytes += Math.min(piece.length, room);
  }

  /**
   * Ends the record and starts the next one.
   *
   * @throws {FastCgiError} FASTCGI_PROTOCOL when it was too short
   */
  take(contentBytes: number): RequestEnd {
    if (contentBytes < BODY_BYTES) {
      throw new FastCgiError(
        "FASTCGI_PROTOCOL",
        `Cannot read END_REQUEST: it has ${contentBytes} bytes, not ${BODY_BYTES}`,
      );
    }
    this.#bytes = 0;
    const [b0, b1, b2, b3, protocolStatus] = this.#body;
    return { appStatus: (b0! << 24) | (b1! << 16) | (b2! << 8) | b3!, protocolStatus: protocolStatus! };
  }
}

/** Why the application did not run a request, by its protocol status. */
export function refusal(address: FastCgiAddress, protocolStatus: number): FastCgiError {
  const where = `"${formatAddress(address)}"`;
  if (protocolStatus === ProtocolStatus.overloaded) {
    return new FastCgiError("FASTCGI_OVERLOADED", `${where} says it is overloaded`);
  }
  const text = `${where} refused the request with protocol status ${protocolStatus}`;
  return new FastCgiError("FASTCGI_PROTOCOL", text);
}
