import assert from "node:assert/strict";
import { fpmsOwnAnswer, isLogged } from "../../../../src/executors/fastcgi/fpm_answer.ts";
import type { FastCgiResponse } from "../../../../src/fastcgi/response.ts";

const SCRIPT = "/srv/app/fervo.php";
const HEADERS = { "status": "as below", "content-type": "text/html; charset=UTF-8" };

function response(
  status: number,
  body: string,
  stderr: string,
  headers: Record<string, string> = HEADERS,
): FastCgiResponse {
  return {
    status,
    headers: new Map(Object.entries(headers)),
    body: new TextEncoder().encode(body),
    stderr,
    isTruncated: false,
    appStatus: 0,
  };
}

const BASEDIR =
  "PHP message: PHP Warning:  PHP Request Startup: open_basedir restriction in effect. File(/srv/app/fervo.php) " +
  "is not within the allowed path(s): (/srv/www) in Unknown on line 0; PHP message: PHP Warning:  PHP Request Startup: " +
  "Failed to open stream: Operation not permitted in Unknown on line 0; " +
  "Unable to open primary script: /srv/app/fervo.php (Operation not permitted)";
const LIMITED = "Access to the script '/srv/app/fervo.txt' has been denied (see security.limit_extensions)";

/** As php-fpm 8.2 gives them. */
const OWN: [status: number, body: string, stderr: string, says: RegExp][] = [
  [
    404,
    "File not found.\n",
    "Primary script unknown",
    /cannot find the script "\/srv\/app\/fervo.php": file not found/,
  ],
  [403, "Access denied.\n", LIMITED, /access denied; see security.limit_extensions of the pool$/],
  [
    403,
    "Access denied.\n",
    `Unable to open primary script: ${SCRIPT} (Permission denied)`,
    /see the file's permissions/,
  ],
  [404, "No input file specified.\n", BASEDIR, /: Operation not permitted; see open_basedir of the pool/],
];

Deno.test("fpmsOwnAnswer() knows each of php-fpm's own answers, with STDERR and without, and why it was given", () => {
  for (const [status, body, stderr, says] of OWN) {
    const logged = response(status, body, stderr, { ...HEADERS, "x-powered-by": "PHP/8.2.0" });
    const error = fpmsOwnAnswer(logged, SCRIPT);
    assert.equal(error?.code, "FPM_MISCONFIGURED");
    assert.match(error.message, says);
    assert.equal(error.details.stderr, stderr);
    assert.equal(isLogged(logged), true);
    const silent = response(status, body, "");
    assert.equal(fpmsOwnAnswer(silent, SCRIPT)?.code, "FPM_MISCONFIGURED");
    assert.equal(isLogged(silent), false);
  }
});

Deno.test("fpmsOwnAnswer() takes a script's answer for none of php-fpm's: other bytes, headers, or words on STDERR", () => {
  for (const [status, body, stderr] of OWN) {
    const others = [
      response(status, body.trimEnd(), stderr),
      response(status, `${body}\n`, stderr),
      response(200, body, stderr),
      response(status === 403 ? 404 : 403, body, stderr),
      response(status, body, stderr, { ...HEADERS, "cache-control": "no-cache" }),
      // Only php-fpm writes to STDERR without "PHP message: ".
      response(status, body, `PHP message: ${stderr}`.replaceAll("; ", ", ")),
      response(status, body, `${stderr}; PHP message: more`),
      response(status, body, "PHP message: something else"),
    ];
    for (const other of others) {
      assert.equal(
        fpmsOwnAnswer(other, SCRIPT),
        undefined,
        JSON.stringify([other.status, body, other.stderr]),
      );
    }
  }
});
