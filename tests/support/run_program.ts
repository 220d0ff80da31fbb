/** A program that has ended. */
export interface ProgramResult {
  readonly success: boolean;
  readonly code: number;
  /** What it wrote to standard output, and then to standard error. */
  readonly said: string;
}

/** Runs a program of this machine to its end. */
export async function runProgram(program: string, ...args: string[]): Promise<ProgramResult> {
  const { success, code, stdout, stderr } = await new Deno.Command(program, { args }).output();
  const utf8 = new TextDecoder();
  return { success, code, said: utf8.decode(stdout) + utf8.decode(stderr) };
}

/** The name of the user who runs this, for programs that want to know it before they do something as root. */
export async function userName(): Promise<string> {
  return (await runProgram("id", "-un")).said.trim();
}
