import type { PlainFormat } from "../core/format.ts";

const NO_HEADERS: Readonly<Record<string, string>> = Object.freeze({});

/** The message is the payload; the broker stores everything else beside it. */
export const raw: PlainFormat = {
  name: "raw",
  hasAttempts: false,
  read({ body, headers: { traceparent, tracestate } }) {
    if (traceparent === undefined) return { payload: body };
    return { payload: body, traceparent, ...(tracestate !== undefined && { tracestate }) };
  },
  write({ payload, traceparent, tracestate }) {
    if (traceparent === undefined) return { body: payload, headers: NO_HEADERS };
    return { body: payload, headers: { traceparent, ...(tracestate !== undefined && { tracestate }) } };
  },
};
