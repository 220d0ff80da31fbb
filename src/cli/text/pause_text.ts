import type { PauseOptions } from "../../core/admin.ts";
import { visible } from "../../core/text/visible.ts";
import { isoDate } from "../../core/time/iso_date.ts";

/** The end of a sentence about a paused queue: until when, and why, if known. */
export function pauseText({ untilMs, reason }: PauseOptions): string {
  const until = untilMs === undefined ? "" : ` until ${isoDate(untilMs)}`;
  return reason === undefined ? until : `${until}: ${visible(reason)}`;
}
