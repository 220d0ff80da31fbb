import type { OutputListener } from "../core/text/output.ts";
import type { EncodedParams } from "./params.ts";
import type { BodyListener, ResponseLimits } from "./response.ts";

/** One request to a FastCGI application. */
export interface FastCgiRequest {
  /** Pairs that every request shares, encoded once. Sent first. */
  readonly sharedParams?: EncodedParams;
  /** Pairs of this request; their meaning is between the caller and the application. */
  readonly params: readonly (readonly [name: string, value: string])[];
  /** STDIN, of any size. The caller sends its length as CONTENT_LENGTH: php-fpm reads exactly that many bytes. */
  readonly body: Uint8Array;
  /** Called with the answer's body as it arrives, beside the whole answer. */
  readonly onBody?: BodyListener;
  /** Called with both streams of the answer as they arrive, headers included, without a limit. */
  readonly onOutput?: OutputListener;
  /** Called, possibly often, when by observation the request has not begun: its child still runs the previous one. */
  readonly run?: { notBegun(): void } | undefined;
}

export interface ConnectionOptions extends ResponseLimits {
  /** How long connecting may take, milliseconds. */
  readonly connectTimeoutMs: number;
  /** From the write of the request to the first byte of an answer, milliseconds; 0 without a limit. */
  readonly firstByteTimeoutMs: number;
  /** How long a TCP connection may be silent, milliseconds; 0 without a limit. See {@link Connection}. */
  readonly keepaliveMs: number;
}

/** A request without a byte of an answer: `Connection.silentFor`. */
export interface SilentRequest {
  readonly params: FastCgiRequest["params"];
  /** Of the previous request on the same connection. */
  readonly previousParams: FastCgiRequest["params"];
  /** Reports whether it has begun. Does nothing once an answer has come. */
  setBegun(hasBegun: boolean): void;
}
