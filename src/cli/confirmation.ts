import type { Context } from "./context.ts";
import { ExitCode } from "./exit_code.ts";

/**
 * Asks a person before many jobs are changed, unless --yes is given or nothing would change.
 *
 * @returns Asks the question; whether the answer is yes. A no is reported, and makes the command fail.
 */
export function confirmation(
  { io, setExitCode }: Pick<Context, "io" | "setExitCode">,
  command: { error(message: string): never },
  { yes = false, dryRun = false }: { yes?: boolean | undefined; dryRun?: boolean | undefined },
): (question: string) => Promise<boolean> {
  const isNeeded = !yes && !dryRun;
  if (isNeeded && !io.isAttended) command.error("Not an interactive terminal; pass --yes to confirm");
  return async (question) => {
    if (!isNeeded || await io.confirm(question)) return true;
    io.err("Nothing was changed\n");
    setExitCode(ExitCode.failed);
    return false;
  };
}
