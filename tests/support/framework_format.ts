import type { PlainFormat } from "../../src/core/format.ts";

/** A format of messages that a framework reads in PHP, and keeps attempts in. */
export const FRAMEWORK: PlainFormat = {
  name: "framework",
  framework: { isToldFailures: true },
  hasAttempts: false,
  read: ({ body }) => ({ payload: body }),
  write: ({ payload }) => ({ body: payload, headers: {} }),
};
