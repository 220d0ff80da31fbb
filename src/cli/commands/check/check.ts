import { resolve } from "node:path";
import { Command } from "@commander-js/extra-typings";
import type { Finding } from "../../../core/finding.ts";
import type { CheckOptions, PlacedFinding } from "./context.ts";
import { examine } from "./findings.ts";
import { FervoError } from "../../../core/errors.ts";
import { commandAs, findAccount, whyCannotRun } from "../../../system/account.ts";
import type { Context } from "../../context.ts";
import { ExitCode, exitCodeOf } from "../../exit_code.ts";
import { jsonLine } from "../../text/json_line.ts";
import { configOption, jsonOption } from "../../options.ts";
import { configPath, readConfig } from "../../settings.ts";

export function checkCommand(context: Context) {
  const { io, setExitCode } = context;
  return new Command("check")
    .summary("examine the configuration, the brokers and php-fpm")
    .description(
      "Examines everything that jobs depend on: opens each broker, connects to each php-fpm pool, looks for scripts and " +
        "programs. It reports what endangers jobs, why, and which line to change. It runs no PHP and no other program, " +
        "unless an option below asks for it. It reports as unknown what it cannot find out.",
    )
    .addOption(configOption())
    .option(
      "--call-script",
      "let php-fpm run the script with FERVO_CHECK=1 and no job, and examine the PHP settings that it reports",
    )
    .option("--fpm-config <file>", "examine this php-fpm.conf, as `php-fpm -tt` reads it")
    .option("--php-fpm <path>", "the php-fpm program for --fpm-config (default: the newest installed one)")
    .option("--user <name>", "as root: check as this user, the worker's user")
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker check
  $ fervo-worker check --call-script --fpm-config /etc/php/8.2/fpm/php-fpm.conf
  $ sudo fervo-worker check --user www-data
  $ fervo-worker check --json | jq '.[] | select(.severity == "warning")'

Exit codes:
  0  nothing endangers jobs; notices at most
  1  warnings
  3  jobs cannot run: a configuration is wrong, the worker's or php-fpm's
  4  jobs cannot run: a broker or php-fpm cannot be reached or used`,
    )
    .action(async ({ fpmConfig, phpFpm, ...given }) => {
      // Absolute paths mean the same in every folder; a mere program name is left to PATH.
      const options = {
        ...given,
        fpmConfig: fpmConfig === undefined ? undefined : resolve(fpmConfig),
        phpFpm: phpFpm?.includes("/") ? resolve(phpFpm) : phpFpm,
      };
      const file = await configPath(io, options.config);
      if (options.user !== undefined) return setExitCode(await checkAs(options.user, file, options));
      const config = await readConfig(context, file);
      const findings = [...await examine({ config, file, options }), ...checkOwnUser()];
      io.out(options.json ? jsonLine(findings.map(toJson)) : findings.map(toText).join(""));
      setExitCode(exitCodeOfFindings(findings));
    });
}

/**
 * Runs the same command as another user, who lacks root's rights. Its output is that command's own.
 *
 * @returns Its exit code.
 * @throws {FervoError} CONFIG_INVALID
 */
async function checkAs(
  user: string,
  file: string,
  options: CheckOptions & { readonly json?: true | undefined },
): Promise<ExitCode> {
  if (Deno.uid() !== 0) {
    throw new FervoError(
      "CONFIG_INVALID",
      `Only root can check as the user "${user}": run check with sudo, or as "${user}"`,
    );
  }
  const account = await findAccount(user);
  const obstacle = account === undefined
    ? `This machine has no user "${user}"`
    : await whyCannotRun(Deno.execPath(), account);
  if (obstacle !== undefined) throw new FervoError("CONFIG_INVALID", obstacle);
  const { callScript, fpmConfig, phpFpm, json } = options;
  const args = [
    ...["check", "--config", resolve(file)],
    ...(callScript ? ["--call-script"] : []),
    ...(fpmConfig === undefined ? [] : ["--fpm-config", fpmConfig]),
    ...(phpFpm === undefined ? [] : ["--php-fpm", phpFpm]),
    ...(json ? ["--json"] : []),
  ];
  const { code } = await commandAs(account!, [Deno.execPath(), ...args]).spawn().status;
  return code as ExitCode;
}

/** Root has rights that the worker's user may not have. */
function checkOwnUser(): PlacedFinding[] {
  if (Deno.uid() !== 0) return [];
  return [{
    id: "worker.user",
    subject: "worker",
    severity: "notice",
    what: "check ran as root, who may read and write everything",
    why: "a worker of another user may lack rights that root has",
    fix: "as root: fervo-worker check --user NAME, with the worker's user for NAME",
  }];
}

/** The exit code of the first error: a wrong configuration, or an unavailable server. */
function exitCodeOfFindings(findings: readonly Finding[]): ExitCode {
  const error = findings.find(({ severity }) => severity === "error");
  if (error !== undefined) {
    const code = exitCodeOf(error.code ?? "CONFIG_INVALID");
    return code === ExitCode.failed ? ExitCode.unavailable : code;
  }
  return findings.some(({ severity }) => severity === "warning") ? ExitCode.failed : ExitCode.ok;
}

/** The finding as `--json` prints it; documented in docs/reference/findings.md. */
function toJson({ id, subject, severity, what, why, fix, details }: PlacedFinding) {
  return { id, subject, severity, what, why: why ?? null, fix: fix ?? null, details: details ?? null };
}

const MARKS = { ok: "ok     ", notice: "notice ", warning: "warning", error: "ERROR  " } as const;
const INDENT = " ".repeat(9);

function toText({ id, subject, severity, what, why, fix, details }: PlacedFinding): string {
  if (severity === "ok") return `${MARKS.ok}  ${subject}: ${what}\n`;
  return [
    `${MARKS[severity]}  ${subject}: ${what} [${id}]`,
    ...(details === undefined ? [] : details.split("\n").map((line) => `${INDENT}| ${line}`)),
    ...(why === undefined ? [] : [`${INDENT}Why: ${why}`]),
    ...(fix === undefined ? [] : [`${INDENT}Fix: ${fix}`]),
    "",
  ].join("\n");
}
