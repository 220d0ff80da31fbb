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

/** The middle value of each quarter of the time. */
export function quarters(samples: readonly Sample[], of: keyof Sample): readonly number[] {
  return [0, 1, 2, 3].map((quarter) => {
    const from = Math.floor(samples.length * quarter / 4);
    const to = Math.floor(samples.length * (quarter + 1) / 4);
    const values = samples.slice(from, to).map((one) => one[of]).sort((a, b) => a - b);
    return values[values.length >> 1] ?? NaN;
  });
}
