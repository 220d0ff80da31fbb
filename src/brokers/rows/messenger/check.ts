import type { Finding } from "../../../core/finding.ts";
import type { Clock } from "../../../core/time/clock.ts";
import type { SqlDatabase } from "../../../sql/database.ts";
import type { MessengerLayoutOptions } from "./layout.ts";
import type { MessengerTable } from "./table.ts";

/** Findings about the table and its server. */
// deno-lint-ignore require-await -- to be filled in
export async function messengerFindings(
  _deps: { readonly database: SqlDatabase; readonly clock: Clock },
  _subject: { readonly table: MessengerTable; readonly options: MessengerLayoutOptions },
): Promise<Finding[]> {
  return [];
}
