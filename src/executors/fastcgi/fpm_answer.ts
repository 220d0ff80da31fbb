import { FervoError } from "../../core/errors.ts";
import type { FastCgiResponse } from "../../fastcgi/response.ts";
import { failureDetails } from "../failure_details.ts";

/*
 * php-fpm's own answers without a script: fpm_main.c, main(). The body has its line feed, the headers are those of an empty
 * script, and the reason is on STDERR, unless fastcgi.logging is off.
 */

interface OwnAnswer {
  readonly status: number;
  readonly body: string;
  /** The last line that php-fpm logs; its first group is the reason. Lines of PHP begin with "PHP message: ". */
  readonly log: RegExp;
  /** The meaning, with the reason if known. */
  readonly text: (script: string, reason: string | undefined) => string;
}

const OPEN_FAILED = /(?:^|; )Unable to open primary script: .* \((.*)\)$/;

const OWN_ANSWERS: readonly OwnAnswer[] = [
  {
    status: 404,
    body: "File not found.\n",
    log: /(?:^|; )Primary script unknown$/,
    text: (script) =>
      `php-fpm cannot find the script "${script}": file not found; correct "script", or give php-fpm's user access`,
  },
  {
    status: 403,
    body: "Access denied.\n",
    log: /(?:^|; )Access to the script '.*' has been denied \(see security\.limit_extensions\)$/,
    text: (script) =>
      `php-fpm does not run the script "${script}": access denied; see security.limit_extensions of the pool`,
  },
  {
    status: 403,
    body: "Access denied.\n",
    log: OPEN_FAILED,
    text: (script) =>
      `php-fpm does not run the script "${script}": access denied; see the file's permissions, and ` +
      `security.limit_extensions of the pool`,
  },
  {
    status: 404,
    body: "No input file specified.\n",
    log: OPEN_FAILED,
    text: (script, reason = "it cannot be opened") =>
      `php-fpm does not run the script "${script}": ${reason}; see open_basedir of the pool, and whether it is a file`,
  },
];

/** Headers of an answer without a script; X-Powered-By with expose_php. */
const OWN_HEADERS: ReadonlySet<string> = new Set(["status", "content-type", "x-powered-by"]);

const LONGEST_BODY = Math.max(...OWN_ANSWERS.map(({ body }) => body.length));
const lenientUtf8 = new TextDecoder();

/**
 * The fault in an answer that is php-fpm's own by all signs: FPM_MISCONFIGURED. A script can send the same bytes, but not the
 * same STDERR.
 */
export function fpmsOwnAnswer(response: FastCgiResponse, script: string): FervoError | undefined {
  const own = ownAnswer(response);
  if (own === undefined) return undefined;
  const text = own.text(script, own.log.exec(response.stderr)?.[1]);
  return new FervoError("FPM_MISCONFIGURED", text, { details: failureDetails(response.stderr) });
}

/** Whether STDERR shows that an answer of this form is php-fpm's own. */
export function isLogged(response: FastCgiResponse): boolean {
  return ownAnswer(response)?.log.test(response.stderr) ?? false;
}

/**
 * Whether an answer without STDERR equals one that was certainly php-fpm's own. If that one had a reason on STDERR,
 * fastcgi.logging is on, and the other would have one, too.
 */
export function isAnsweredAlike(response: FastCgiResponse, certain: FastCgiResponse): boolean {
  if (certain.stderr !== "" || response.headers.size !== certain.headers.size) return false;
  return [...certain.headers].every(([name, value]) =>
    name === "status" ? response.headers.has(name) : response.headers.get(name) === value
  );
}

function ownAnswer({ status, headers, body, stderr }: FastCgiResponse): OwnAnswer | undefined {
  if (body.length > LONGEST_BODY) return undefined;
  const text = lenientUtf8.decode(body);
  const alike = OWN_ANSWERS.filter((own) => own.status === status && own.body === text);
  if (alike.length === 0 || [...headers.keys()].some((name) => !OWN_HEADERS.has(name))) return undefined;
  return stderr === "" ? alike[0] : alike.find(({ log }) => log.test(stderr));
}
