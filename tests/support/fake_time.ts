/**
 * The environment that makes a program go by the clock in a file, which a test can step: `+0`, `+60`, `-5m`. Needs
 * libfaketime.
 *
 * @param clockFile Holds the offset; read anew once a second.
 * @param options.stepsMonotonic Whether the monotonic clock is moved, too. A step of the wall clock leaves it alone.
 * @param options.readsAlways Reads the file whenever the program asks for the time: slower, and a step is seen at once. It is
 *   true where the monotonic clock is moved.
 */
export function fakeTime(
  clockFile: string,
  { stepsMonotonic, readsAlways = stepsMonotonic }: { stepsMonotonic: boolean; readsAlways?: boolean },
): Record<string, string> {
  // The one for programs with threads.
  const name = "faketime/libfaketimeMT.so.1";
  for (const folder of [`/usr/lib/${Deno.build.arch}-linux-gnu`, "/usr/lib64", "/usr/lib"]) {
    try {
      Deno.statSync(`${folder}/${name}`);
    } catch (error) {
      if (error instanceof Deno.errors.NotFound) continue;
      throw error;
    }
    return {
      LD_PRELOAD: `${folder}/${name}`,
      FAKETIME_TIMESTAMP_FILE: clockFile,
      ...(readsAlways ? { FAKETIME_NO_CACHE: "1" } : { FAKETIME_CACHE_DURATION: "1" }),
      ...(stepsMonotonic ? {} : { FAKETIME_DONT_FAKE_MONOTONIC: "1" }),
    };
  }
  throw new Error(
    'Cannot find libfaketime: install it, e.g. "apt-get install libfaketime" on Debian and Ubuntu',
  );
}

/** Moves the clock in this file, which a program may read at any moment, to this many milliseconds ahead of the machine's. */
export async function setFakeTime(clockFile: string, aheadMs: number): Promise<void> {
  await Deno.writeTextFile(`${clockFile}.new`, `+${aheadMs / 1_000}s`);
  await Deno.rename(`${clockFile}.new`, clockFile);
}

/** Removes the shared memory that libfaketime leaves behind when the program with this process id was killed. */
export async function removeFakeTimeMemory(pid: number): Promise<void> {
  for (const name of [`sem.faketime_sem_${pid}`, `faketime_shm_${pid}`]) {
    await Deno.remove(`/dev/shm/${name}`).catch(() => {});
  }
}
