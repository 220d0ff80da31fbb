import type { Dialect } from "./dialect.ts";

/** The message is the payload; all else travels beside it in the broker. */
export const raw: Dialect = {
  name: "raw",
  decode({ raw, headers }) {
    const traceparent = headers["traceparent"];
    return traceparent === undefined ? { payload: raw } : { payload: raw, traceparent };
  },
  encode: ({ payload }) => payload,
};
