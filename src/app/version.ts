import deno from "../../deno.json" with { type: "json" };

/** scripts/compile puts the commit in here; "" where it does not know. */
const COMMIT: string = "@FERVO_WORKER_COMMIT@";

/** scripts/compile puts in here where the runtime of the binary comes from: one of {@link RuntimeOrigin}. */
const RUNTIME: string = "@FERVO_WORKER_RUNTIME@";

/**
 * Where the runtime of a binary comes from:
 * - `official`: Deno's own runtime; its archive has the SHA-256 that scripts/deno-release.sha256 pins. Every release has it.
 * - `downloaded`: Deno's own runtime, which `deno compile` has downloaded by itself; no hash of it is pinned.
 * - `npm`: cut out of an executable on npm (docs/adr/0005).
 * - `custom`: the file that DENORT_BIN named when the binary was compiled.
 */
export type RuntimeOrigin = "official" | "downloaded" | "npm" | "custom";

/** What this program is. `commit` is null where it is not known, `runtime` where the program runs from source. */
export interface VersionInfo {
  readonly version: string;
  readonly commit: string | null;
  readonly target: string;
  /** The version of Deno that runs the program. */
  readonly deno: string;
  readonly runtime: RuntimeOrigin | null;
}

export function versionInfo(): VersionInfo {
  return {
    version: deno.version,
    commit: stamped(COMMIT),
    target: Deno.build.target,
    deno: Deno.version.deno,
    runtime: stamped(RUNTIME) as RuntimeOrigin | null,
  };
}

function stamped(word: string): string | null {
  return word === "" || word.startsWith("@") ? null : word;
}
