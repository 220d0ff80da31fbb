import { extname, relative, resolve } from "node:path";
import type { Clock } from "../core/time/clock.ts";
import { fileReason } from "../core/text/file_error.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import { checkRequest } from "../executors/fastcgi/requests.ts";
import { outcomeOf } from "../executors/fastcgi/answer.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";
import type { FastCgiResponse } from "../fastcgi/response.ts";
import { ask } from "../fpm/status.ts";
import { type Directives, valueOf } from "../fpm/settings.ts";
import { messengerFindings, type SharedStore } from "./messenger.ts";
import {
  CHECK_HEADER,
  type PhpExpectations,
  phpFindings,
  poolPhpFindings,
  readPhpSettings,
  unknownSettings,
} from "./php.ts";

/** A front controller, its pool, and the expectations of its consumers. */
export interface ScriptToCheck extends PhpExpectations {
  readonly address: FastCgiAddress;
  readonly script: string;
  readonly params: Readonly<Record<string, string>>;
  /** The brokers of its consumers whose messages are a framework's. */
  readonly stores: readonly SharedStore[];
  /** Each `ack_on` of its consumers. */
  readonly ackOn: ReadonlySet<"outcome" | "status">;
}

/**
 * Looks for the script on this machine, and whether the pool runs it.
 *
 * @param own The pool's directives, if php-fpm's configuration is known.
 */
export async function findScript(target: ScriptToCheck, own: Directives | undefined): Promise<Finding[]> {
  const { script } = target;
  const chroot = own && valueOf(own, "chroot");
  const path = `${chroot ?? ""}${script}`;
  return [
    await placeFinding(script, path, chroot),
    ...(own === undefined ? [] : [...limitExtensions(own, script), ...await openBasedir(own, path)]),
    ...poolPhpFindings(own ?? new Map(), target, "fervo-worker check --call-script"),
  ];
}

/** @param path The script's path on this machine. */
async function placeFinding(script: string, path: string, chroot: string | undefined): Promise<Finding> {
  const isThere = `"${path}" exists`;
  try {
    const { isFile } = await Deno.stat(path);
    return isFile
      ? { id: "fpm.script", severity: "ok", what: isThere }
      : misplaced(`"${path}" is not a file`);
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound || error instanceof Deno.errors.NotADirectory)) {
      return misplaced(`Cannot look for "${path}": ${fileReason(error)}`);
    }
    if (chroot === undefined) return misplaced(`"${path}" is not on this machine`);
    const inside = relative(chroot, script);
    return {
      ...misplaced(
        `"${path}" is not on this machine; the pool has chroot = ${chroot}, where "script" begins`,
      ),
      ...(!inside.startsWith("..") && { fix: `in [fpm.NAME]: script = "/${inside}"` }),
    };
  }
}

function misplaced(what: string): Finding {
  return {
    id: "fpm.script",
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what,
    fix: "in [fpm.NAME]: script = the path as php-fpm sees it; " +
      "if php-fpm sees another file system: fervo-worker check --call-script",
  };
}

/** php-fpm runs only files with certain endings; an empty list allows all (fpm_php.c, fpm_php_limit_extensions). */
function limitExtensions(own: Directives, script: string): Finding[] {
  const list = valueOf(own, "security.limit_extensions") ?? "";
  const extensions = list.split(/[\s,]+/).filter((extension) => extension !== "");
  if (extensions.length === 0 || extensions.some((extension) => script.endsWith(extension))) return [];
  return [{
    id: "fpm.limit_extensions",
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what: `security.limit_extensions of the pool is "${list}", and the script is "${script}"`,
    why: 'php-fpm refuses to run it ("Access denied.")',
    fix: extname(script) === ""
      ? "give the script the ending .php, and set it in [fpm.NAME]: script"
      : `in the pool: security.limit_extensions = ${list} ${extname(script)}`,
  }];
}

/** PHP opens no file outside of `open_basedir`, the script included. Relative folders are not judged. */
async function openBasedir(own: Directives, script: string): Promise<Finding[]> {
  const list = own.get("php_admin_value[open_basedir]") ?? own.get("php_value[open_basedir]") ?? "";
  const folders = list.split(":").filter((folder) => folder !== "");
  if (folders.length === 0 || valueOf(own, "chroot") !== undefined) return [];
  const real = (path: string) => Deno.realPath(path).catch(() => resolve(path));
  const file = await real(script);
  for (const folder of folders) {
    if (!folder.startsWith("/") || !relative(await real(folder), file).startsWith("..")) return [];
  }
  return [{
    id: "fpm.open_basedir",
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what: `open_basedir of the pool is "${list}", and the script is "${script}"`,
    why: 'PHP may not open it ("No input file specified.")',
    fix: `in the pool: php_admin_value[open_basedir] = ${list}:${script.slice(0, script.lastIndexOf("/"))}`,
  }];
}

/**
 * Lets php-fpm run the script with FERVO_CHECK=1 and no job.
 *
 * @throws {FervoError}
 */
export function askScript(
  clock: Clock,
  { address, script, params }: Pick<ScriptToCheck, "address" | "script" | "params">,
): Promise<FastCgiResponse> {
  return ask(address, clock, checkRequest(script, params));
}

/** Judges the answer of the script, and the settings in it. @param answering Of {@link askScript}. */
export async function answerFindings(
  answering: Promise<FastCgiResponse>,
  target: ScriptToCheck,
): Promise<Finding[]> {
  const { script, ackOn } = target;
  try {
    const response = await answering;
    const header = response.headers.get(CHECK_HEADER);
    const settings = readPhpSettings(header);
    const answer = answerFinding(response, script, ackOn);
    return [
      answer,
      ...(settings === undefined ? [unknownSettings(ANSWER_CHECK)] : phpFindings(settings, target)),
      ...(target.stores.length === 0 || answer.severity !== "ok"
        ? []
        : await messengerFindings(header, target.stores, Deno.env.get("PATH") ?? "")),
    ];
  } catch (error) {
    const known = error instanceof FervoError ? error : undefined;
    const stderr = known?.details.stderr;
    return [
      {
        id: "fpm.script",
        severity: "error",
        code: known?.code ?? "FASTCGI_CONNECT_FAILED",
        what: reasonOf(error),
        fix: known?.code === "FASTCGI_CONNECTION_LOST"
          ? "look into php-fpm's log: the PHP process died, or listen.allowed_clients of the pool refuses this machine"
          : "is php-fpm running, and may this user connect to it?",
        ...(stderr !== undefined && { details: stderrText(stderr) }),
      },
      unknownSettings("fervo-worker check --call-script, once php-fpm can be reached"),
    ];
  }
}

const ANSWER_CHECK = "in the script: answer FERVO_CHECK with X-Fervo-Check, as docs/protocol.md says";

/** The meaning of the answer for each consumer: it must be good for all. */
function answerFinding(
  response: FastCgiResponse,
  script: string,
  ackOn: ReadonlySet<"outcome" | "status">,
): Finding {
  const wrong = [...ackOn].map((one) => outcomeOf(response, { ackOn: one, script }))
    .find((outcome) => outcome.kind !== "ack");
  if (wrong === undefined) return { id: "fpm.script", severity: "ok", what: `"${script}" answers` };
  // The script itself reports what keeps it from running jobs.
  const isTold = wrong.error.code === "JOB_FAILED";
  return {
    id: "fpm.script",
    severity: "error",
    code: "FPM_MISCONFIGURED",
    what: isTold
      ? `"${script}" says that it cannot run jobs: ${reasonOf(wrong.error).replace("The job failed: ", "")}`
      : reasonOf(wrong.error),
    fix: isTold
      ? "correct what it names; STDERR may have more"
      : wrong.error.code === "FPM_MISCONFIGURED"
      ? "in [fpm.NAME]: script = the path of a file as php-fpm sees it, which its user can read and the pool runs"
      : "correct the script: its answer to FERVO_CHECK is X-Fervo-Outcome: ack, as docs/protocol.md says",
    details: answerText(response),
  };
}

/** This much of a body is shown: enough for a message of PHP, not for a page. */
const SHOWN_BODY_BYTES = 2_000;

function stderrText(stderr: string): string {
  return `STDERR: ${stderr === "" ? "nothing" : stderr}`;
}

/** STDERR, which usually has the reason; the status, and the beginning of the body. */
function answerText({ status, stderr, body }: FastCgiResponse): string {
  const head = new TextDecoder().decode(body.subarray(0, SHOWN_BODY_BYTES)).trimEnd();
  const more = body.length > SHOWN_BODY_BYTES
    ? ` (the first ${SHOWN_BODY_BYTES} of ${body.length} bytes)`
    : "";
  return [
    stderrText(stderr),
    status === 0 ? "Status: none; the answer has no headers" : `Status: ${status}`,
    head === "" ? "Body: nothing" : `Body${more}:\n${head}`,
  ].join("\n");
}
