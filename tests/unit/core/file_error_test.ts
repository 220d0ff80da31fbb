import assert from "node:assert/strict";
import { fileReason } from "../../../src/core/file_error.ts";

Deno.test("fileReason() says in words why a file cannot be used, and keeps the words of what it does not know", () => {
  assert.equal(
    fileReason(new Deno.errors.NotFound("No such file (os error 2): readfile '/a'")),
    "no such file or folder",
  );
  assert.equal(fileReason(new Deno.errors.PermissionDenied("os error 13")), "permission denied");
  assert.equal(
    fileReason(Object.assign(new Error("x"), { code: "ENOTDIR" })),
    "a part of the path is no folder",
  );
  assert.equal(fileReason(new Error("the disk is on fire")), "the disk is on fire");
  assert.equal(fileReason("odd"), "odd");
  assert.equal(fileReason(undefined), "undefined");
});
