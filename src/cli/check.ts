import { resolve } from "node:path";
import { Command } from "@commander-js/extra-typings";
import { isOn, isTooSmall, openBroker, totalConcurrency } from "../app.ts";
import type { Config, FpmConfig, ProcessConfig } from "../config/config.ts";
import { systemClock } from "../core/clock.ts";
import { FervoError, reasonOf } from "../core/errors.ts";
import { checkRequest } from "../executors/fastcgi.ts";
import { outcomeOf } from "../executors/fastcgi_answer.ts";
import { FpmControl } from "../executors/fpm_control.ts";
import { formatAddress } from "../fastcgi/address.ts";
import { ask, pingRequest } from "../fastcgi/status.ts";
import type { Context } from "./context.ts";
import { ExitCode, exitCodeOf } from "./exit_code.ts";
import { configOption, jsonOption } from "./options.ts";
import { counted } from "./plural.ts";
import { readConfig } from "./settings.ts";

/** One thing that was looked at. */
interface Finding {
  /** What, e.g. `fpm.default script`. */
  readonly subject: string;
  readonly result: "ok" | "warning" | "failed";
  /** What was seen, and what to do about it. */
  readonly text: string;
  /** The exit code that a failure leads to. */
  readonly exitCode?: ExitCode;
}

export function checkCommand({ io, setExitCode }: Context) {
  return new Command("check")
    .summary("check the configuration, and reach the broker and php-fpm")
    .description(
      "Checks the configuration, opens each broker, reaches each php-fpm pool by its ping or status page, and looks " +
        "for scripts and programs. Nothing is run, unless --call-script is given.",
    )
    .addOption(configOption())
    .option(
      "--call-script",
      "have php-fpm run the script with FERVO_CHECK=1 and no job, instead of looking for it on this machine",
    )
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker check
  $ fervo-worker check --config /etc/fervo-worker/mail.toml --call-script`,
    )
    .action(async (options) => {
      const config = await readConfig(io, options.config);
      const findings: Finding[] = [
        { subject: "configuration", result: "ok", text: counted(config.consumers.length, "consumer") },
      ];
      for (const name of config.brokers.keys()) findings.push(...await checkBroker(config, name));
      for (const [name, fpm] of config.fpm) {
        findings.push(await checkPool(config, name, fpm));
        const subject = `fpm.${name} script`;
        findings.push(
          await (options.callScript ? callScript(subject, config, name) : findScript(subject, fpm)),
        );
      }
      for (const [name, process] of config.processes) findings.push(...await checkProcess(name, process));
      const marks = { ok: "ok     ", warning: "warning", failed: "FAILED " };
      if (options.json) {
        io.out(
          `${JSON.stringify(findings.map(({ subject, result, text }) => ({ subject, result, text })))}\n`,
        );
      } else {
        for (const { subject, result, text } of findings) io.out(`${marks[result]}  ${subject}: ${text}\n`);
      }
      setExitCode(findings.find(({ result }) => result === "failed")?.exitCode ?? ExitCode.ok);
    });
}

async function checkBroker(config: Config, name: string): Promise<Finding[]> {
  const subject = `brokers.${name}`;
  try {
    await using broker = openBroker(config, name, systemClock);
    const queues = await broker.driver.queues();
    const warnings = await broker.driver.warnings?.() ?? [];
    return [
      { subject, result: "ok", text: `reached; ${counted(queues.length, "queue")} with jobs` },
      ...warnings.map((text): Finding => ({ subject, result: "warning", text })),
    ];
  } catch (error) {
    return [failed(subject, error)];
  }
}

async function checkPool(config: Config, name: string, fpm: FpmConfig): Promise<Finding> {
  const subject = `fpm.${name}`;
  const where = `"${formatAddress(fpm.address)}"`;
  try {
    const status = await new FpmControl({ clock: systemClock }, fpm).status();
    if (status !== undefined) {
      const wanted = totalConcurrency(config, name);
      const children = `pool "${status.pool}" at ${where}, pm = ${status.processManager}, ` +
        `${status.totalProcesses} children, ${status.idleProcesses} idle`;
      if (isTooSmall(status, wanted)) {
        const text =
          `${children}: fewer than the ${wanted} jobs that its consumers run; lower "concurrency" or raise ` +
          `pm.max_children`;
        return wrong(subject, text);
      }
      return { subject, result: "ok", text: children };
    }
    return await pingPool(subject, fpm, where);
  } catch (error) {
    return failed(subject, error);
  }
}

/** Without a ping page, any path serves to see that php-fpm answers: it says that it does not find it. */
async function pingPool(subject: string, fpm: FpmConfig, where: string): Promise<Finding> {
  const path = fpm.pingPath ?? "/fervo-check";
  const response = await ask(fpm.address, systemClock, pingRequest(path));
  const body = new TextDecoder().decode(response.body).trim();
  if (fpm.pingPath === undefined) {
    const text =
      `${where} answers; set pm.status_path in the pool and "status_path" here, so that its number of ` +
      `children can be checked`;
    return { subject, result: "warning", text };
  }
  if (response.status === 200) {
    return { subject, result: "ok", text: `${where} answers "${body.slice(0, 40)}"` };
  }
  const text = `${where} answers ${response.status} at ping_path "${path}": is it the pool's ping.path?`;
  return wrong(subject, text);
}

async function findScript(subject: string, { script }: FpmConfig): Promise<Finding> {
  const elsewhere = "if php-fpm sees another file system, ask it with --call-script";
  try {
    const { isFile } = await Deno.stat(script);
    if (isFile) return { subject, result: "ok", text: `"${script}" is there` };
    return wrong(subject, `"${script}" is no file`);
  } catch (error) {
    const text = error instanceof Deno.errors.NotFound
      ? `"${script}" is not on this machine: correct "script"; ${elsewhere}`
      : `Cannot look for "${script}": ${reasonOf(error)}; ${elsewhere}`;
    return wrong(subject, text);
  }
}

async function callScript(subject: string, config: Config, name: string): Promise<Finding> {
  const fpm = config.fpm.get(name)!;
  const { script, params } = fpm;
  // A script that cannot send the header is as good as its consumers take it for.
  const ackOn = config.consumers.map(({ executor }) => executor)
    .find((executor) => isOn(executor, name))?.ackOn ?? "outcome";
  try {
    const response = await ask(fpm.address, systemClock, checkRequest(script, params));
    const outcome = outcomeOf(response, { ackOn, script });
    if (outcome.kind === "ack") return { subject, result: "ok", text: `"${script}" answers` };
    return failed(subject, outcome.error, ExitCode.config);
  } catch (error) {
    return failed(subject, error);
  }
}

async function checkProcess(name: string, { command, directory, env }: ProcessConfig): Promise<Finding[]> {
  const [program] = command;
  const subject = `processes.${name} program`;
  // As the system looks for it: a name with a slash is a path, which begins at the process's own folder.
  const path = env["PATH"] ?? Deno.env.get("PATH") ?? "";
  const folders = program.includes("/") ? [directory ?? "."] : path.split(":");
  const files = await Promise.all(folders.map((folder) => findProgram(resolve(folder, program))));
  const found = files.find((file) => file?.isExecutable) ?? files.find((file) => file !== undefined);
  const findings: Finding[] = [
    found === undefined
      ? wrong(subject, `"${program}" is not there: correct "command", or give the program's absolute path`)
      : found.isExecutable
      ? { subject, result: "ok", text: `"${found.path}" is there` }
      : wrong(subject, `"${found.path}" is no program: it is not executable`),
  ];
  if (directory === undefined) return findings;
  const folder = `processes.${name} directory`;
  const { isDirectory } = await Deno.stat(directory).catch(() => ({ isDirectory: false }));
  findings.push(
    isDirectory
      ? { subject: folder, result: "ok", text: `"${directory}" is there` }
      : wrong(folder, `"${directory}" is no folder: correct "directory"`),
  );
  return findings;
}

async function findProgram(path: string): Promise<{ path: string; isExecutable: boolean } | undefined> {
  const { isFile, mode } = await Deno.stat(path).catch(() => ({ isFile: false, mode: null }));
  return isFile ? { path, isExecutable: ((mode ?? 0) & 0o111) !== 0 } : undefined;
}

function wrong(subject: string, text: string): Finding {
  return { subject, result: "failed", text, exitCode: ExitCode.config };
}

function failed(subject: string, error: unknown, exitCode?: ExitCode): Finding {
  const code = error instanceof FervoError ? exitCodeOf(error.code) : ExitCode.unavailable;
  return { subject, result: "failed", text: reasonOf(error), exitCode: exitCode ?? code };
}
