import { Buffer } from "node:buffer";

export interface RustCrate {
  readonly name: string;
  readonly version: string;
}

/** Where Cargo has the sources of a crate: `…/registry/src/INDEX/NAME-VERSION/…`. */
const SOURCES = "/registry/src/";
const PLACE = /^[^/\0]+\/([A-Za-z0-9_-]+?)-(\d+\.\d+\.\d+[A-Za-z0-9.+-]*)\//;
/** Longer than any place up to the version, bytes. */
const PLACE_BYTES = 200;

/**
 * The Rust crates of which an executable has code, by name. rustc writes the path of a source file into the executable wherever the code
 * of that file can panic. So a crate whose code cannot panic, or was optimized away, is not found.
 */
export function rustCratesIn(executable: Uint8Array): RustCrate[] {
  const bytes = Buffer.from(executable.buffer, executable.byteOffset, executable.byteLength);
  const found = new Map<string, RustCrate>();
  for (let at = bytes.indexOf(SOURCES); at >= 0; at = bytes.indexOf(SOURCES, at + SOURCES.length)) {
    const start = at + SOURCES.length;
    const match = PLACE.exec(bytes.toString("latin1", start, start + PLACE_BYTES));
    if (match !== null) found.set(`${match[1]} ${match[2]}`, { name: match[1]!, version: match[2]! });
  }
  return [...found.entries()].sort(([a], [b]) => a < b ? -1 : 1).map(([, crate]) => crate);
}
