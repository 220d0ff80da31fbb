/** Verdicts in a test's words. */
import { FervoError } from "../../src/core/errors.ts";
import { ACK as DONE, type Verdict } from "../../src/core/outcome.ts";

export const ACK: Verdict = DONE;

/** Put back: the job never ran. */
export const RELEASE: Extract<Verdict, { kind: "release" }> = {
  kind: "release",
  reason: "shutdown",
  error: new FervoError("SHUTDOWN", "The job was not begun"),
};

/** Put back while it ran, and what ran it may run on. */
export const CUT_OFF: Verdict = { ...RELEASE, mayRunOn: true };

export function retry(delayMs: number, error: FervoError): Verdict {
  return { kind: "retry", delayMs, error };
}

export function bury(error: FervoError): Verdict {
  return { kind: "bury", error };
}
