import assert from "node:assert/strict";
import { rustCratesIn } from "../../../src/system/rust_crates.ts";

function found(text: string): string[] {
  return rustCratesIn(new TextEncoder().encode(text)).map(({ name, version }) => `${name} ${version}`);
}

Deno.test("rustCratesIn() finds each crate of an executable once, by name", () => {
  const text = "\0\x01/home/me/.cargo/registry/src/index-1949cf/serde_json-1.0.140/src/de.rs\0assertion" +
    "/root/.cargo/registry/src/index-1949cf/ash-0.38.0+1.3.281/src/lib.rs/root/.cargo/registry/src/index-1949cf/" +
    "serde_json-1.0.140/src/ser.rs/root/.cargo/registry/src/index-1949cf/md-5-0.10.6/src/lib.rs";
  assert.deepEqual(found(text), ["ash 0.38.0+1.3.281", "md-5 0.10.6", "serde_json 1.0.140"]);
});

Deno.test("rustCratesIn() finds none where a path breaks off, has no version or no index", () => {
  for (
    const text of [
      "",
      "/registry/src/",
      "/registry/src/index-1949cf/serde-1.0.228",
      "/registry/src/index-1949cf/serde/src/lib.rs",
      "/registry/src/serde-1.0.228/src",
      "/registry/src/index\0/serde-1.0.228/src/lib.rs",
    ]
  ) {
    assert.deepEqual(found(text), [], text);
  }
});
