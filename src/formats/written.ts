import type { Message, PlainFormat } from "../core/format.ts";

/**
 * A new job as a message of its format.
 *
 * @returns The message; and the limit of attempts, if there is one and the message cannot have it.
 */
export function written(
  format: PlainFormat,
  payload: Uint8Array,
  { maxAttempts, headers }: {
    readonly maxAttempts?: number;
    readonly headers?: Readonly<Record<string, string>>;
  },
  nowMs: number,
): { readonly message: Message; readonly maxAttempts?: number } {
  const limit = maxAttempts !== undefined && { maxAttempts };
  const message = format.write({ payload, enqueuedAtMs: nowMs, ...limit });
  return {
    message: headers === undefined ? message : { ...message, headers: { ...message.headers, ...headers } },
    ...(!format.hasAttempts && limit),
  };
}
