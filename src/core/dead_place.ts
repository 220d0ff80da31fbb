import { FervoError } from "./errors.ts";

/** For a text that is neither a place in the list of dead letters nor the id of one. */
export function noPlace(text: string): FervoError {
  return new FervoError(
    "JOB_FAILED",
    `Cannot go on behind "${text}": no dead letter has that id, now. Was it retried or removed? Name the place that the page ` +
      "before has told, which stays, or begin anew",
  );
}
