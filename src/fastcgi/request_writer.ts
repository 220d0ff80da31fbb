import type { FastCgiRequest } from "./request.ts";
import { ParamsWriter } from "./params.ts";
import {
  FLAG_KEEP_CONNECTION,
  FULL_CONTENT_BYTES,
  HEADER_BYTES,
  RecordType,
  ROLE_RESPONDER,
  writeHeader,
} from "./record.ts";

/** A body up to this size is sent in one write with everything before it. */
export const SMALL_BODY_BYTES = 32_768;

type Writer = Pick<Deno.Conn, "write">;

/** Writes the beginnings of requests, in reused memory. */
export class RequestWriter {
  readonly #params = new ParamsWriter(0);
  #out = new Uint8Array(2048);

  /** The first write: BEGIN_REQUEST, PARAMS and, for a small body, STDIN. Valid until the next call. */
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

/** Writes the STDIN of a larger body in pieces of one record, and its end. */
export async function writeStdin(socket: Writer, requestId: number, body: Uint8Array): Promise<void> {
  const record = new Uint8Array(HEADER_BYTES + FULL_CONTENT_BYTES);
  for (let at = 0; at < body.length; at += FULL_CONTENT_BYTES) {
    const piece = body.subarray(at, at + FULL_CONTENT_BYTES);
    writeHeader(record, 0, RecordType.stdin, requestId, piece.length);
    record.set(piece, HEADER_BYTES);
    await writeWhole(socket, record.subarray(0, HEADER_BYTES + piece.length));
  }
  await writeStdinEnd(socket, requestId);
}

/** Ends STDIN. */
export async function writeStdinEnd(socket: Writer, requestId: number): Promise<void> {
  const record = new Uint8Array(HEADER_BYTES);
  writeHeader(record, 0, RecordType.stdin, requestId, 0);
  await writeWhole(socket, record);
}

export async function writeWhole(socket: Writer, bytes: Uint8Array): Promise<void> {
  let at = await socket.write(bytes);
  while (at < bytes.length) at += await socket.write(bytes.subarray(at));
}
