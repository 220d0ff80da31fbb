/** Shell blocks of the documentation, run as they stand there. */
import { docBlocks, placeOf } from "./doc_blocks.ts";
import { runProgram } from "./run_program.ts";

export interface DocScriptOptions {
  /** Where it runs. */
  readonly cwd: string;
  readonly env?: Readonly<Record<string, string>>;
  /** A name that is another one here. */
  readonly replace?: readonly [from: string, to: string];
}

/**
 * Runs the block of a page that begins with this text, in the language `sh`.
 *
 * @param file From the root of the repository.
 * @throws {Error} when the page has no such block, or when it fails.
 */
export async function runDocScript(file: string, first: string, options: DocScriptOptions): Promise<void> {
  const block = docBlocks().find((block) =>
    block.file === file && block.language === "sh" && block.text.startsWith(first)
  );
  if (block === undefined) throw new Error(`${file} has no sh block that begins with ${first}`);
  const { cwd, env = {}, replace } = options;
  const text = replace === undefined ? block.text : block.text.replaceAll(...replace);
  const variables = Object.entries(env).map(([name, value]) => `${name}=${value}`);
  const { success, said } = await runProgram("env", "-C", cwd, ...variables, "bash", "-e", "-c", text);
  if (!success) throw new Error(`${placeOf(block)}: ${said}`);
}
