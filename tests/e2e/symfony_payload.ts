import { createHash, createHmac, hkdfSync } from "node:crypto";

/** What the bundle derives its key for. */
const CONTEXT = "fervo/deferred-event-bundle payload signature 1";

/** A payload as the bundle makes it, with any content, for who knows the application's secret. */
export function signed(secret: string, content: unknown): string {
  const body = JSON.stringify(content);
  const key = new Uint8Array(hkdfSync("sha256", secret, "", CONTEXT, 32));
  const keyId = createHash("sha256").update(key).digest("hex").slice(0, 8);
  return `fervo-event/1 ${keyId} ${createHmac("sha256", key).update(body).digest("hex")}\n${body}`;
}
