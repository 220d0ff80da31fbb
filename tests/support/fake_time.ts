/**
 * The environment that makes a program go by the clock in a file, which a test can step: `+0`, `+60`, `-5m`. Needs
 * libfaketime.
 *
 * @param clockFile Holds the offset; read anew once a second.
 * @param options.stepsMonotonic Whether the monotonic clock is moved, too. A step of the wall clock leaves it alone.
 */
export function fakeTime(
  clockFile: string,
  options: { stepsMonotonic: boolean },
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
      ...(options.stepsMonotonic
        ? { FAKETIME_NO_CACHE: "1" }
        : { FAKETIME_CACHE_DURATION: "1", FAKETIME_DONT_FAKE_MONOTONIC: "1" }),
    };
  }
  throw new Error(
    'Cannot find libfaketime: install it, e.g. "apt-get install libfaketime" on Debian and Ubuntu',
  );
}
