import type { Finding } from "../core/finding.ts";
import { findProgram, isFolder, type ProgramFile, type ProgramPlace } from "../executors/process/program.ts";

/** Whether the program of `[processes.NAME]` and its folder exist. */
export async function checkProgram(place: ProgramPlace): Promise<Finding[]> {
  const found = await findProgram(place);
  const interpreter = found?.isExecutable ? await missingInterpreter(found.path) : undefined;
  return [
    interpreter === undefined
      ? programFinding(place.command[0], found)
      : interpreterFinding(found!.path, interpreter),
    ...await folderFindings(place.directory),
  ];
}

function programFinding(program: string, found: ProgramFile | undefined): Finding {
  const id = "process.program";
  if (found?.isExecutable) return { id, severity: "ok", what: `"${found.path}" exists` };
  const wrong = { id, severity: "error", code: "PROCESS_MISCONFIGURED" } as const;
  return found === undefined
    ? {
      ...wrong,
      what: `"${program}" does not exist`,
      fix: "in [processes.NAME]: command = [the program's absolute path, …]",
    }
    : {
      ...wrong,
      what: `"${found.path}" is not executable`,
      fix: `chmod +x ${found.path}`,
    };
}

function interpreterFinding(script: string, interpreter: string): Finding {
  return {
    id: "process.program",
    severity: "error",
    code: "PROCESS_MISCONFIGURED",
    what: `"${script}" names the interpreter "${interpreter}", which does not exist`,
    why: "no job can run",
    fix: interpreter.endsWith("\\r")
      ? `end the lines of ${script} with LF, not CRLF`
      : `correct the first line of ${script}, or install ${interpreter}`,
  };
}

/** The interpreter in a script's first line, if it is missing; as written, a CR included. */
async function missingInterpreter(path: string): Promise<string | undefined> {
  using file = await Deno.open(path).catch(() => undefined);
  // A program may be executable and not readable.
  if (file === undefined) return undefined;
  const start = new Uint8Array(256);
  const length = await file.read(start) ?? 0;
  const interpreter = /^#! *([^ \t\n]+)/.exec(new TextDecoder().decode(start.subarray(0, length)))?.[1];
  if (interpreter === undefined) return undefined;
  return await Deno.stat(interpreter).then(() => undefined, () => interpreter.replace("\r", "\\r"));
}

async function folderFindings(directory: string | undefined): Promise<Finding[]> {
  if (directory === undefined) return [];
  const id = "process.directory";
  if (await isFolder(directory)) return [{ id, severity: "ok", what: `"${directory}" exists` }];
  return [{
    id,
    severity: "error",
    code: "PROCESS_MISCONFIGURED",
    what: `"${directory}" is not a folder`,
    fix: "in [processes.NAME]: directory = a folder's absolute path",
  }];
}
