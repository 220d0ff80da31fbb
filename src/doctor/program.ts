import { resolve } from "node:path";
import type { Finding } from "../core/finding.ts";
import type { ProcessExecutorOptions } from "../executors/process.ts";

/** Whether the program of a process a job is there, and its folder. */
export async function checkProgram(
  { command, directory, env }: Pick<ProcessExecutorOptions, "command" | "directory" | "env">,
): Promise<Finding[]> {
  const [program] = command;
  // As the system looks for it: a name with a slash is a path, which begins at the process's own folder.
  const path = env["PATH"] ?? Deno.env.get("PATH") ?? "";
  const folders = program.includes("/") ? [directory ?? "."] : path.split(":");
  const files = await Promise.all(folders.map((folder) => findProgram(resolve(folder, program))));
  const found = files.find((file) => file?.isExecutable) ?? files.find((file) => file !== undefined);
  return [programFinding(program, found), ...await folderFindings(directory)];
}

interface Program {
  readonly path: string;
  readonly isExecutable: boolean;
}

function programFinding(program: string, found: Program | undefined): Finding {
  const id = "process.program";
  if (found?.isExecutable) return { id, severity: "ok", what: `"${found.path}" is there` };
  const wrong = { id, severity: "error", code: "PROCESS_MISCONFIGURED" } as const;
  return found === undefined
    ? {
      ...wrong,
      what: `"${program}" is not there`,
      fix: "in [processes.NAME]: command = [the program's absolute path, …]",
    }
    : {
      ...wrong,
      what: `"${found.path}" is no program: it is not executable`,
      fix: `chmod +x ${found.path}`,
    };
}

async function folderFindings(directory: string | undefined): Promise<Finding[]> {
  if (directory === undefined) return [];
  const id = "process.directory";
  const { isDirectory } = await Deno.stat(directory).catch(() => ({ isDirectory: false }));
  if (isDirectory) return [{ id, severity: "ok", what: `"${directory}" is there` }];
  return [{
    id,
    severity: "error",
    code: "PROCESS_MISCONFIGURED",
    what: `"${directory}" is no folder`,
    fix: "in [processes.NAME]: directory = a folder's absolute path",
  }];
}

async function findProgram(path: string): Promise<Program | undefined> {
  const { isFile, mode } = await Deno.stat(path).catch(() => ({ isFile: false, mode: null }));
  return isFile ? { path, isExecutable: ((mode ?? 0) & 0o111) !== 0 } : undefined;
}
