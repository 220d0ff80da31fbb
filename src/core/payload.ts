/** Refuses what is no UTF-8, and keeps a byte order mark: the text stands for exactly these bytes. */
const exactUtf8 = new TextDecoder("utf-8", { fatal: true, ignoreBOM: true });

/**
 * The text that stands for exactly these bytes.
 *
 * @throws {TypeError} when they are not UTF-8
 */
export function exactText(bytes: Uint8Array): string {
  return exactUtf8.decode(bytes);
}

/** A payload as it stands in JSON: `payload` when it is text, else `payload_base64`. */
export function payloadFields(payload: Uint8Array): { payload: string } | { payload_base64: string } {
  try {
    return { payload: exactText(payload) };
  } catch {
    return { payload_base64: payload.toBase64() };
  }
}
