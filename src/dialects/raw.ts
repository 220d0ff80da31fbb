import { JobError } from "../core/errors.ts";
import type { Dialect } from "./dialect.ts";

/** The message is the payload; all else travels beside it in the broker. */
export const raw: Dialect = {
  name: "raw",
  decode({ raw, headers }) {
    if (headers === undefined) {
      throw new JobError("JOB_MALFORMED", `Cannot read the job's headers: not a JSON object of strings`);
    }
    const traceparent = headers["traceparent"];
    return traceparent === undefined ? { payload: raw } : { payload: raw, traceparent };
  },
  encode: ({ payload }) => payload,
};
