import assert from "node:assert/strict";
import { reasonOf } from "../../../../src/core/errors.ts";
import { fileReason } from "../../../../src/core/text/file_error.ts";

Deno.test("fileReason() says what an error of a file means, without the runtime's words", {
  permissions: "none",
}, () => {
  const cases: [error: unknown, reason: string][] = [
    [new Deno.errors.NotFound("No such file or directory (os error 2): open '/x'"), "no such file or folder"],
    [new Deno.errors.PermissionDenied("Permission denied (os error 13): open '/x'"), "permission denied"],
    [new Deno.errors.IsADirectory("Is a directory (os error 21)"), "it is a folder"],
    [new Deno.errors.NotADirectory("Not a directory (os error 20)"), "a part of the path is not a folder"],
    [
      new Deno.errors.FilesystemLoop("Too many levels of symbolic links (os error 40): open '/x'"),
      "it is a link to a missing file, or to itself",
    ],
    [new Error("No space left on device (os error 28): writefile '/x'"), "no space left on device"],
    [new Error("something else"), "something else"],
    ["a text", "a text"],
    [Object.assign(new Error("x"), { code: "ENOTDIR" }), "a part of the path is not a folder"],
    [undefined, "undefined"],
  ];
  for (const [error, reason] of cases) assert.equal(fileReason(error), reason);
});

Deno.test("reasonOf() has no advice of the runtime for whoever compiles it", { permissions: "none" }, () => {
  const error = new Deno.errors.NotCapable(
    'Requires all access to "/dev/stdin", specify the required permissions during compilation using `deno compile --allow-all`',
  );
  for (const reason of [reasonOf(error), fileReason(error)]) {
    assert.match(reason, /^it is not a regular file/);
    assert.doesNotMatch(reason, /deno|--allow/);
  }
});
