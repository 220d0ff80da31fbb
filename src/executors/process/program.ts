import { resolve } from "node:path";

/** The file of a command, as the system would start it. */
export interface ProgramFile {
  readonly path: string;
  readonly isExecutable: boolean;
}

/** The parts of a command that locate its program. */
export interface ProgramPlace {
  readonly command: readonly [program: string, ...args: string[]];
  readonly directory: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The file that a command starts, or would start if it were executable; undefined without one. A name with a slash is a path,
 * relative to the process's own folder.
 */
export async function findProgram(
  { command: [program], directory, env }: ProgramPlace,
): Promise<ProgramFile | undefined> {
  const path = env["PATH"] ?? Deno.env.get("PATH") ?? "";
  const folders = program.includes("/") ? [directory ?? "."] : path.split(":");
  const files = await Promise.all(folders.map((folder) => programAt(resolve(folder, program))));
  return files.find((file) => file?.isExecutable) ?? files.find((file) => file !== undefined);
}

/** Whether a process can start in that folder, as far as the folder shows. */
export async function isFolder(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isDirectory === true;
}

async function programAt(path: string): Promise<ProgramFile | undefined> {
  const { isFile, mode } = await Deno.stat(path).catch(() => ({ isFile: false, mode: null }));
  return isFile ? { path, isExecutable: ((mode ?? 0) & 0o111) !== 0 } : undefined;
}
