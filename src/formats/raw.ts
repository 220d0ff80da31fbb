import type { Format } from "./format.ts";

/** The message is the payload; all else travels beside it in the broker. */
export const raw: Format = {
  name: "raw",
  decode({ raw, headers }) {
    const { traceparent, tracestate } = headers;
    if (traceparent === undefined) return { payload: raw };
    return { payload: raw, traceparent, ...(tracestate !== undefined && { tracestate }) };
  },
  encode: ({ payload }) => payload,
};
