import { JobError } from "../errors.ts";

/** Refuses invalid UTF-8 and keeps a byte order mark: the text stands for exactly these bytes. */
const exactUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The text that stands for exactly these bytes.
 *
 * @throws {TypeError} when they are not UTF-8
 */
export function exactText(bytes: Uint8Array): string {
  return exactUtf8.decode(bytes);
}

/**
 * A payload that is passed on as text. A NUL would end the text, so other payloads would arrive changed.
 *
 * @param way How it is passed, as in a sentence, e.g. `the param "DATA"`.
 * @throws {JobError} JOB_MALFORMED when it has a NUL byte or is not UTF-8
 */
export function payloadText(payload: Uint8Array, way: string): string {
  const malformed = (reason: string) =>
    new JobError(
      "JOB_MALFORMED",
      `Cannot send the payload as ${way}: it ${reason}; only STDIN takes any bytes`,
    );
  if (payload.includes(0)) throw malformed("has a NUL byte");
  try {
    return exactText(payload);
  } catch {
    throw malformed("is not UTF-8");
  }
}

/** The error for a message that is longer than a broker's `max_payload_bytes`: JOB_MALFORMED. */
export function tooLarge(queue: string, bytes: number, maxBytes: number): JobError {
  return new JobError(
    "JOB_MALFORMED",
    `The payload for queue "${queue}" has ${bytes} bytes, more than the ${maxBytes} that max_payload_bytes allows`,
    { details: { bytes, maxBytes } },
  );
}

/** A payload in JSON: `payload` for text, else `payload_base64`. */
export function payloadFields(payload: Uint8Array): { payload: string } | { payload_base64: string } {
  try {
    return { payload: exactText(payload) };
  } catch {
    return { payload_base64: payload.toBase64() };
  }
}
