import type { PauseOptions } from "../../core/admin.ts";
import { visible } from "../../core/text/visible.ts";
import { isoDate } from "../../core/time/iso_date.ts";

/** The end of a sentence about a queue that is paused: until when, and why, where that is known. */
export function pauseText({ untilMs, reason }: PauseOptions): string {
  const until = untilMs === undefined ? "" : ` until ${isoDate(untilMs)}`;
  return reason === undefined ? until : `${until}: ${visible(reason)}`;
}
