/** What a process uses. */
export interface Sample {
  readonly residentMib: number;
  readonly descriptors: number;
}

/** Undefined when there is no such process. */
export async function sample(pid: number): Promise<Sample | undefined> {
  try {
    const status = await Deno.readTextFile(`/proc/${pid}/status`);
    const descriptors = [...Deno.readDirSync(`/proc/${pid}/fd`)].length;
    return { residentMib: Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? 0) / 1_024, descriptors };
  } catch (error) {
    if (error instanceof Deno.errors.NotFound) return undefined;
    throw error;
  }
}

/** The middle values of the second and of the last quarter: what a process uses when it is warm, and in the end. */
export function quarters(samples: readonly Sample[], of: keyof Sample): { warm: number; end: number } {
  const quarter = samples.length / 4;
  const middle = (from: number, to: number) => {
    const values = samples.slice(from, to).map((one) => one[of]).sort((a, b) => a - b);
    return values[values.length >> 1] ?? NaN;
  };
  return { warm: middle(quarter, 2 * quarter), end: middle(3 * quarter, samples.length) };
}
