import type { Finding } from "../core/finding.ts";
import { findProgram, isFolder, type ProgramFile, type ProgramPlace } from "../executors/program.ts";

/** Whether the program of a process a job is there, and its folder. */
export async function checkProgram(place: ProgramPlace): Promise<Finding[]> {
  const found = await findProgram(place);
  return [programFinding(place.command[0], found), ...await folderFindings(place.directory)];
}

function programFinding(program: string, found: ProgramFile | undefined): Finding {
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
  if (await isFolder(directory)) return [{ id, severity: "ok", what: `"${directory}" is there` }];
  return [{
    id,
    severity: "error",
    code: "PROCESS_MISCONFIGURED",
    what: `"${directory}" is no folder`,
    fix: "in [processes.NAME]: directory = a folder's absolute path",
  }];
}
