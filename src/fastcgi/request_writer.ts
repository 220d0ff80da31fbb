import type { FastCgiRequest } from "./request.ts";
import { ParamsWriter } from "./params.ts";
import { FLAG_KEEP_CONNECTION, HEADER_BYTES, RecordType, ROLE_RESPONDER, writeHeader } from "./record.ts";

/** A body up to this size goes out in one write, together with everything before it. */
export const SMALL_BODY_BYTES = 32_768;

/** Writes the beginnings of requests, in memory that it uses again. */
export class RequestWriter {
  readonly #params = new ParamsWriter(0);
  #out = new Uint8Array(2048);

  /** BEGIN_REQUEST, PARAMS and, for a small body, STDIN: all that goes into the first write. Valid until the next one. */
  head(request: FastCgiRequest, requestId: number, keep: boolean): Uint8Array {
    const params = this.#params;
    params.reset(requestId);
    if (request.sharedParams !== undefined) params.addEncoded(request.sharedParams);
    for (const [name, value] of request.params) params.add(name, value);
    const paramRecords = params.bytes();

    const { body } = request;
    const stdinBytes = body.length > 0 && body.length <= SMALL_BODY_BYTES ? HEADER_BYTES + body.length : 0;
    const endBytes = body.length <= SMALL_BODY_BYTES ? HEADER_BYTES : 0;
    const headBytes = 16 + paramRecords.length + HEADER_BYTES + stdinBytes + endBytes;
    if (headBytes > this.#out.length) this.#out = new Uint8Array(2 * headBytes);

    const out = this.#out;
    writeHeader(out, 0, RecordType.beginRequest, requestId, 8);
    out.fill(0, 8, 16);
    out[9] = ROLE_RESPONDER;
    out[10] = keep ? FLAG_KEEP_CONNECTION : 0;
    out.set(paramRecords, 16);
    let at = 16 + paramRecords.length;
    writeHeader(out, at, RecordType.params, requestId, 0);
    at += HEADER_BYTES;
    if (stdinBytes > 0) {
      writeHeader(out, at, RecordType.stdin, requestId, body.length);
      out.set(body, at + HEADER_BYTES);
      at += stdinBytes;
    }
    if (endBytes > 0) writeHeader(out, at, RecordType.stdin, requestId, 0);
    return out.subarray(0, headBytes);
  }
}
