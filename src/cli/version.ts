import deno from "../../deno.json" with { type: "json" };
import { jsonLine } from "./json_line.ts";

/** scripts/compile puts the commit in here; "" where it does not know. */
const COMMIT: string = "@FERVO_WORKER_COMMIT@";

/** What this program is. */
export function program(): { version: string; commit: string | null; target: string; deno: string } {
  const isKnown = COMMIT !== "" && !COMMIT.startsWith("@");
  return {
    version: deno.version,
    commit: isKnown ? COMMIT : null,
    target: Deno.build.target,
    deno: Deno.version.deno,
  };
}

/** The same, as `--version` prints it. */
export function versionText(asJson: boolean): string {
  return asJson ? jsonLine(program()) : `fervo-worker ${deno.version}\n`;
}
