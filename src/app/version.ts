import deno from "../../deno.json" with { type: "json" };

/** scripts/compile puts the commit in here; "" where it does not know. */
const COMMIT: string = "@FERVO_WORKER_COMMIT@";

/** What this program is. */
export function versionInfo(): { version: string; commit: string | null; target: string; deno: string } {
  const isKnown = COMMIT !== "" && !COMMIT.startsWith("@");
  return {
    version: deno.version,
    commit: isKnown ? COMMIT : null,
    target: Deno.build.target,
    deno: Deno.version.deno,
  };
}
