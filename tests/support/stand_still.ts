import { eventually } from "./eventually.ts";

/**
 * Resolves when all threads of the processes have stopped, or are gone. SIGSTOP takes effect when a thread runs the next time, which
 * can be a moment later on a busy machine.
 */
export async function standStill(pids: readonly number[]): Promise<void> {
  await eventually("the processes stand still", async () => {
    const states = await Promise.all(pids.map(statesOf));
    return states.flat().every((state) => "TtZX".includes(state));
  });
}

/** The state of each thread of a process: see proc(5). */
async function statesOf(pid: number): Promise<string[]> {
  const states: string[] = [];
  try {
    for await (const { name } of Deno.readDir(`/proc/${pid}/task`)) {
      const stat = await Deno.readTextFile(`/proc/${pid}/task/${name}/stat`);
      // After the name, which is in brackets and may have any character.
      states.push(stat.slice(stat.lastIndexOf(")") + 2)[0]!);
    }
  } catch (error) {
    if (!(error instanceof Deno.errors.NotFound)) throw error;
  }
  return states;
}
