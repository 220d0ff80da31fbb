import { asFervoError } from "../core/errors.ts";
import type { Format, JobHead, Message, Unreadable } from "../core/format.ts";

/** What a message says of its job, or why none can be read. */
export function readJob(format: Pick<Format, "read">, message: Message): JobHead | Unreadable {
  try {
    return format.read(message);
  } catch (thrown) {
    const error = asFervoError(thrown);
    // A fault of the format says nothing of the message.
    return { error, concerns: error.code === "JOB_MALFORMED" ? "message" : "producer" };
  }
}
