import deno from "../../deno.json" with { type: "json" };

/** scripts/compile puts the commit in here; "" where it does not know. */
const COMMIT: string = "@FERVO_WORKER_COMMIT@";

/** What this program is, as `--version` prints it. */
export function versionText(asJson: boolean): string {
  if (!asJson) return `fervo-worker ${deno.version}\n`;
  const isKnown = COMMIT !== "" && !COMMIT.startsWith("@");
  return `${
    JSON.stringify({
      version: deno.version,
      commit: isKnown ? COMMIT : null,
      target: Deno.build.target,
      deno: Deno.version.deno,
    })
  }\n`;
}
