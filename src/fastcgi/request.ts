import type { OutputListener } from "../core/text/output.ts";
import type { EncodedParams } from "./params.ts";
import type { BodyListener, ResponseLimits } from "./response.ts";

/** One request to a FastCGI application. */
export interface FastCgiRequest {
  /** Pairs that every request shares, encoded once. Sent first. */
  readonly sharedParams?: EncodedParams;
  /** Pairs of this request; what they mean is between the caller and the application. */
  readonly params: readonly (readonly [name: string, value: string])[];
  /** STDIN, of any size. The caller sends its length as CONTENT_LENGTH: php-fpm reads exactly that many bytes. */
  readonly body: Uint8Array;
  /** Is given the answer's body while it comes, beside the answer as a whole. */
  readonly onBody?: BodyListener;
  /** Is given both streams of the answer as they come, headers and all, however long they are. */
  readonly onOutput?: OutputListener;
  /** Is told, again and again, that it was seen not to have begun yet: its child goes on with the request before. */
  readonly run?: { notBegun(): void } | undefined;
}

export interface ConnectionOptions extends ResponseLimits {
  /** How long connecting may take, milliseconds. */
  readonly connectTimeoutMs: number;
  /** How long the first byte of an answer may take from when the request was written, milliseconds; 0 for ever. */
  readonly firstByteTimeoutMs: number;
  /** How long a connection over TCP may be silent, milliseconds; 0 for ever. See {@link Connection}. */
  readonly keepaliveMs: number;
}

/** A request that has had no byte of an answer yet: `Connection.silentFor`. */
export interface SilentRequest {
  readonly params: FastCgiRequest["params"];
  /** Of the request before on the same connection. */
  readonly previousParams: FastCgiRequest["params"];
  /** Whether it was seen to have begun. Does nothing once an answer has come. */
  setBegun(hasBegun: boolean): void;
}
