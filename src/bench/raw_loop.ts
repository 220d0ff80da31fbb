import { type Clock, MAX_TIMER_MS, type Timer } from "../core/time/clock.ts";
import { type FervoError, JobError, reasonOf } from "../core/errors.ts";
import type { Job } from "../core/job.ts";
import { ACK, type Outcome } from "../core/outcome.ts";
import type { BenchExecutor } from "./load.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";
import { connect } from "../fastcgi/connect.ts";
import type { FastCgiRequest } from "../fastcgi/connection.ts";
import { FastCgiError } from "../fastcgi/errors.ts";
import { ParamsWriter } from "../fastcgi/params.ts";
import {
  encodeRecord,
  FLAG_KEEP_CONNECTION,
  FULL_CONTENT_BYTES,
  RecordType,
  ROLE_RESPONDER,
} from "../fastcgi/record.ts";

const REQUEST_ID = 1;
const END_REQUEST_BYTES = 16;
/** A connection that was not used for this long is closed, milliseconds: it keeps a child from others that wait. */
const IDLE_MS = 200;

/**
 * The ceiling of any FastCGI client on this runtime.
 *
 * 1. Writes the same prepared bytes for every job, and reads until END_REQUEST is at the end: no codec, no checks, no pool, no
 *    outcome.
 * 2. Keeps its connections, the last used first, and opens a new one when php-fpm has closed it (`pm.max_requests`).
 */
export class RawLoop implements BenchExecutor {
  readonly #address: FastCgiAddress;
  readonly #request: Uint8Array;
  readonly #clock: Clock;
  readonly #lanes = new Set<Lane>();
  /** Idle ones, the last used at the end. */
  readonly #free: Lane[] = [];
  /** The lane of each signal's last request: a slot of the load has one signal for all its jobs. */
  readonly #laneOf = new Map<AbortSignal, Lane>();
  #timer: Timer | undefined;

  /** @param request The result of {@link encodeRequest}. */
  constructor(deps: { address: FastCgiAddress; clock: Clock }, request: Uint8Array) {
    this.#address = deps.address;
    this.#clock = deps.clock;
    this.#request = request;
  }

  async execute(_job: Job, signal: AbortSignal): Promise<Outcome> {
    const lane = this.#free.pop() ?? this.#addLane();
    if (!this.#laneOf.has(signal)) signal.addEventListener("abort", () => this.#laneOf.get(signal)!.close());
    this.#laneOf.set(signal, lane);
    try {
      await lane.request(this.#request, signal);
      return ACK;
    } catch (error) {
      // The rest of the answer must not be taken for the next one's.
      lane.close();
      return this.#failure(error, signal);
    } finally {
      this.#free.push(lane);
    }
  }

  close(): Promise<void> {
    this.#timer?.cancel();
    for (const lane of this.#lanes) lane.close();
    return Promise.resolve();
  }

  [Symbol.asyncDispose](): Promise<void> {
    return this.close();
  }

  #addLane(): Lane {
    this.#timer ??= this.#clock.setTimer(() => this.#closeIdle(), IDLE_MS);
    const lane = new Lane({ address: this.#address, clock: this.#clock });
    this.#lanes.add(lane);
    return lane;
  }

  #closeIdle(): void {
    for (const lane of this.#lanes) lane.closeIfIdle();
    this.#timer = this.#clock.setTimer(() => this.#closeIdle(), IDLE_MS);
  }

  #failure(error: unknown, signal: AbortSignal): Outcome {
    if (signal.aborted) {
      const reason = signal.reason as FervoError;
      return reason.code === "SHUTDOWN"
        ? { kind: "release", reason: "shutdown", error: reason }
        : { kind: "retry", error: reason };
    }
    if (error instanceof FastCgiError) return { kind: "release", reason: "unavailable", error };
    return { kind: "retry", error: new JobError("JOB_CRASHED", `Lost the connection: ${reasonOf(error)}`) };
  }
}

/** One connection at a time, and one request at a time on it. */
class Lane {
  readonly #address: FastCgiAddress;
  readonly #clock: Clock;
  readonly #buffer = new Uint8Array(65_536);
  #socket: Deno.Conn | undefined;
  #isBusy = false;
  /** Nothing was sent since the last look. */
  #isIdle = false;

  constructor(deps: { address: FastCgiAddress; clock: Clock }) {
    this.#address = deps.address;
    this.#clock = deps.clock;
  }

  async request(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    this.#isBusy = true;
    this.#isIdle = false;
    try {
      await this.#send(bytes, signal);
    } finally {
      this.#isBusy = false;
    }
  }

  closeIfIdle(): void {
    if (this.#isIdle && !this.#isBusy) this.close();
    this.#isIdle = true;
  }

  async #send(bytes: Uint8Array, signal: AbortSignal): Promise<void> {
    const kept = this.#socket;
    if (kept !== undefined) {
      try {
        if (await this.#exchange(kept, bytes)) return;
      } catch (error) {
        if (this.#socket === undefined || !hasLeft(error)) throw error;
      }
      // The child had closed the connection before it read the request.
      this.close();
    }
    // The job's own time is the limit.
    this.#socket = await connect(this.#address, this.#clock, MAX_TIMER_MS, signal);
    if (!await this.#exchange(this.#socket, bytes)) {
      this.close();
      throw new Error("php-fpm closed it without an answer");
    }
  }

  close(): void {
    const socket = this.#socket;
    this.#socket = undefined;
    socket?.close();
  }

  /** Returns false when the connection had ended before any answer. */
  async #exchange(socket: Deno.Conn, bytes: Uint8Array): Promise<boolean> {
    const buffer = this.#buffer;
    let at = await socket.write(bytes);
    while (at < bytes.length) at += await socket.write(bytes.subarray(at));
    let end = await socket.read(buffer);
    if (end === null) return false;
    while (!endsRequest(buffer, end)) {
      // END_REQUEST may be cut in two: its first bytes are kept at the front.
      const kept = Math.min(end, END_REQUEST_BYTES - 1);
      buffer.copyWithin(0, end - kept, end);
      const more = await socket.read(buffer.subarray(kept));
      if (more === null) throw new Error("php-fpm closed it before the end of the answer");
      end = kept + more;
    }
    return true;
  }
}

/** Whether the last bytes are an END_REQUEST record, which ends every answer. */
function endsRequest(buffer: Uint8Array, end: number): boolean {
  const at = end - END_REQUEST_BYTES;
  return at >= 0 && buffer[at + 1] === RecordType.endRequest && buffer[at] === 1 && buffer[at + 5] === 8;
}

function hasLeft(error: unknown): boolean {
  return error instanceof Deno.errors.BrokenPipe || error instanceof Deno.errors.ConnectionReset;
}

/** The bytes of a request on a kept connection. */
export async function encodeRequest(request: FastCgiRequest): Promise<Uint8Array> {
  const params = new ParamsWriter(REQUEST_ID);
  if (request.sharedParams !== undefined) params.addEncoded(request.sharedParams);
  for (const [name, value] of request.params) params.add(name, value);
  const begin = new Uint8Array([0, ROLE_RESPONDER, FLAG_KEEP_CONNECTION, 0, 0, 0, 0, 0]);
  const records = [
    encodeRecord(RecordType.beginRequest, REQUEST_ID, begin),
    params.bytes(),
    encodeRecord(RecordType.params, REQUEST_ID),
  ];
  const { body } = request;
  for (let at = 0; at < body.length; at += FULL_CONTENT_BYTES) {
    records.push(encodeRecord(RecordType.stdin, REQUEST_ID, body.subarray(at, at + FULL_CONTENT_BYTES)));
  }
  records.push(encodeRecord(RecordType.stdin, REQUEST_ID));
  return new Uint8Array(await new Blob(records as Uint8Array<ArrayBuffer>[]).arrayBuffer());
}
