import { JobError } from "../core/errors.ts";
import { whyIdIsRefused } from "../core/text/job_id.ts";
import { exactText, payloadFields } from "../core/text/payload.ts";
import type { JobHead, Message, PlainFormat } from "../core/format.ts";

/**
 * A JSON object around the payload, for producers that keep everything in one message:
 *
 * ```json
 * {"fervo": 1, "payload": "text", "id": "…", "attempts": 5, "enqueued_at": 1700000000000, "traceparent": "00-…"}
 * ```
 *
 * Binary payloads travel as `payload_base64` instead of `payload`. All but `fervo` and the payload may be absent;
 * unknown fields are ignored. Times are epoch milliseconds.
 */
export const envelope: PlainFormat = { name: "envelope", hasAttempts: true, read, write };

function read({ body }: Message): JobHead {
  const fields = parseObject(body);
  if (fields["fervo"] !== 1) {
    throw malformed(`field "fervo" is ${show(fields["fervo"])}, not 1, the format's version`);
  }
  const id = optionalString(fields, "id");
  const reason = id && whyIdIsRefused(id);
  if (reason) throw malformed(`field "id" ${reason}`);
  const maxAttempts = optionalNumber(fields, "attempts");
  if (maxAttempts !== undefined && !(Number.isSafeInteger(maxAttempts) && maxAttempts >= 1)) {
    throw malformed(`field "attempts" is ${maxAttempts}, not a whole number of at least 1`);
  }
  const enqueuedAtMs = optionalNumber(fields, "enqueued_at");
  const { traceparent, tracestate } = fields;
  return {
    payload: payloadOf(fields),
    ...(id !== undefined && { id }),
    ...(maxAttempts !== undefined && { maxAttempts }),
    ...(enqueuedAtMs !== undefined && { enqueuedAtMs }),
    // A bad trace does not spoil the job: a value that is not a text is left out, and a text is checked later.
    ...(typeof traceparent === "string" && { traceparent }),
    ...(typeof tracestate === "string" && { tracestate }),
  };
}

function write(job: JobHead): Message {
  const text = JSON.stringify({
    fervo: 1,
    id: job.id,
    attempts: job.maxAttempts,
    enqueued_at: job.enqueuedAtMs,
    traceparent: job.traceparent,
    tracestate: job.tracestate,
    ...payloadFields(job.payload),
  });
  return { body: new TextEncoder().encode(text), headers: {} };
}

function payloadOf(fields: Record<string, unknown>): Uint8Array {
  const text = optionalString(fields, "payload");
  const base64 = optionalString(fields, "payload_base64");
  if ((text === undefined) === (base64 === undefined)) {
    throw malformed(`it needs one of the fields "payload" and "payload_base64"`);
  }
  if (text !== undefined) {
    // A lone surrogate has no bytes; encoding it would change the payload.
    if (!text.isWellFormed()) throw malformed(`field "payload" has a lone surrogate; use "payload_base64"`);
    return new TextEncoder().encode(text);
  }
  try {
    return Uint8Array.fromBase64(base64!);
  } catch {
    throw malformed(`field "payload_base64" is not base64`);
  }
}

function parseObject(body: Uint8Array): Record<string, unknown> {
  let value: unknown;
  try {
    value = JSON.parse(exactText(body));
  } catch {
    throw malformed("it is not JSON in UTF-8");
  }
  if (typeof value !== "object" || value === null || Array.isArray(value)) {
    throw malformed(`it is ${show(value)}, not an object`);
  }
  return value as Record<string, unknown>;
}

function optionalString(fields: Record<string, unknown>, name: string): string | undefined {
  const value = fields[name] ?? undefined;
  if (value === undefined || typeof value === "string") return value;
  throw malformed(`field "${name}" is ${show(value)}, not a string`);
}

function optionalNumber(fields: Record<string, unknown>, name: string): number | undefined {
  const value = fields[name] ?? undefined;
  if (value === undefined) return undefined;
  if (typeof value !== "number") throw malformed(`field "${name}" is ${show(value)}, not a number`);
  // JSON.parse reads 1e999 as Infinity.
  if (!Number.isFinite(value)) throw malformed(`field "${name}" is too large a number`);
  return value;
}

/** A value in an error. Texts may be secret, and errors are logged: so only its kind. */
function show(value: unknown): string {
  if (value === undefined) return "absent";
  if (typeof value === "string") return "a string";
  if (Array.isArray(value)) return "an array";
  return typeof value === "object" && value !== null ? "an object" : String(value);
}

function malformed(reason: string): JobError {
  return new JobError("JOB_MALFORMED", `Cannot read the message as an envelope: ${reason}`);
}
