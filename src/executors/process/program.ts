import { resolve } from "node:path";

/** A file that a command names, as the system would start it. */
export interface ProgramFile {
  readonly path: string;
  readonly isExecutable: boolean;
}

/** What of a command says where its program is. */
export interface ProgramPlace {
  readonly command: readonly [program: string, ...args: string[]];
  readonly directory: string | undefined;
  readonly env: Readonly<Record<string, string>>;
}

/**
 * The file that a command starts, or one that it would, were that executable; undefined when there is none. A name with a
 * slash is a path, which begins at the process's own folder.
 */
export async function findProgram(
  { command: [program], directory, env }: ProgramPlace,
): Promise<ProgramFile | undefined> {
  const path = env["PATH"] ?? Deno.env.get("PATH") ?? "";
  const folders = program.includes("/") ? [directory ?? "."] : path.split(":");
  const files = await Promise.all(folders.map((folder) => programAt(resolve(folder, program))));
  return files.find((file) => file?.isExecutable) ?? files.find((file) => file !== undefined);
}

/** Whether a process can begin in that folder, as far as a look at it tells. */
export async function isFolder(path: string): Promise<boolean> {
  return (await Deno.stat(path).catch(() => undefined))?.isDirectory === true;
}

async function programAt(path: string): Promise<ProgramFile | undefined> {
  const { isFile, mode } = await Deno.stat(path).catch(() => ({ isFile: false, mode: null }));
  return isFile ? { path, isExecutable: ((mode ?? 0) & 0o111) !== 0 } : undefined;
}
