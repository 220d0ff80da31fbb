import type { Clock } from "../core/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import type { Finding } from "../core/finding.ts";
import { checkRequest } from "../executors/fastcgi.ts";
import { outcomeOf } from "../executors/fastcgi_answer.ts";
import type { FastCgiAddress } from "../fastcgi/address.ts";
import { ask } from "../fastcgi/status.ts";
import { CHECK_HEADER, type PhpExpectations, phpFindings, readPhpSettings, unknownSettings } from "./php.ts";

/** A front controller, where it runs, and what its consumers expect. */
export interface ScriptToCheck extends PhpExpectations {
  readonly address: FastCgiAddress;
  readonly script: string;
  readonly params: Readonly<Record<string, string>>;
}

/** Looks for the script on this machine. */
export async function findScript({ script }: Pick<ScriptToCheck, "script">): Promise<Finding[]> {
  const unknown = unknownSettings("fervo-worker check --call-script");
  try {
    const { isFile } = await Deno.stat(script);
    if (isFile) return [{ id: "fpm.script", severity: "ok", what: `"${script}" is there` }, unknown];
    return [misplaced(`"${script}" is no file`), unknown];
  } catch (error) {
    const what = error instanceof Deno.errors.NotFound
      ? `"${script}" is not on this machine`
      : `Cannot look for "${script}": ${reasonOf(error)}`;
    return [misplaced(what), unknown];
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

/** Has php-fpm run the script with FERVO_CHECK=1 and no job, and judges the settings that it tells. */
export async function callScript(clock: Clock, target: ScriptToCheck): Promise<Finding[]> {
  const { address, script, params, ackOn } = target;
  try {
    const response = await ask(address, clock, checkRequest(script, params));
    const outcome = outcomeOf(response, { ackOn, script });
    const settings = readPhpSettings(response.headers.get(CHECK_HEADER));
    return [
      outcome.kind === "ack"
        ? { id: "fpm.script", severity: "ok", what: `"${script}" answers` }
        : { id: "fpm.script", severity: "error", code: "FPM_MISCONFIGURED", what: reasonOf(outcome.error) },
      ...(settings === undefined ? [unknownSettings(ANSWER_CHECK)] : phpFindings(settings, target)),
    ];
  } catch (error) {
    const code = error instanceof FervoError ? error.code : "FASTCGI_CONNECT_FAILED";
    return [
      { id: "fpm.script", severity: "error", code, what: reasonOf(error) },
      unknownSettings("fervo-worker check --call-script, once php-fpm can be reached"),
    ];
  }
}

const ANSWER_CHECK = "in the script: answer FERVO_CHECK with X-Fervo-Check, as docs/protocol.md says";
