import { Buffer } from "node:buffer";
import { createHash, timingSafeEqual } from "node:crypto";

/** The refusal of a request; undefined if it is allowed. */
export type Guard = (request: { readonly headers: Headers }) => Response | undefined;

/** Allows requests with the token: `Authorization: Bearer TOKEN`. Compared in constant time. */
export function tokenGuard(token: string): Guard {
  // Of equal length for any input, so the length reveals nothing, either.
  const wanted = sha256(`Bearer ${token}`);
  return (request) => {
    // The name of a scheme is case-insensitive (RFC 9110, section 11.1).
    const shown = sha256((request.headers.get("authorization") ?? "").replace(/^bearer +/i, "Bearer "));
    if (timingSafeEqual(shown, wanted)) return undefined;
    return new Response("unauthorized\n", { status: 401, headers: { "www-authenticate": "Bearer" } });
  };
}

/**
 * Allows requests to this machine's address only: else a web page in a local browser could read the answers by giving its own
 * name the address 127.0.0.1.
 */
export const localGuard: Guard = (request) => {
  const host = (request.headers.get("host") ?? "").replace(/:\d+$/, "");
  if (host === "localhost" || /^\d+\.\d+\.\d+\.\d+$|^\[[0-9a-fA-F:.]+\]$/.test(host)) return undefined;
  return new Response("use the address instead of a name, or set a token\n", { status: 403 });
};

function sha256(text: string): Buffer {
  return createHash("sha256").update(text).digest();
}
