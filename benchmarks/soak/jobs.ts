/** How many of 10,000 jobs do what (see job.php). What is left are plain ones, which do nothing. */
const SHARES = {
  slow: 400,
  flaky: 100,
  noisy: 50,
  large: 50,
  wrong: 40,
  exits: 20,
  hopeless: 10,
  crashes: 10,
  long: 1,
};
const LARGE_BYTES = 60_000;

/** The payload of a job. Its number says what it does, so that a run can be played again. */
export function payloadOf(number: number): string {
  const kind = kindOf(number);
  return JSON.stringify({ number, kind, ...(kind === "large" && { filling: "x".repeat(LARGE_BYTES) }) });
}

/** Whether the job with this number can have a good end. */
export function canBeDone(number: number): boolean {
  return !["wrong", "hopeless"].includes(kindOf(number));
}

/** What the job with this number does. */
export function kindOf(number: number): string {
  // Neighbours differ: a prime that has no common factor with 10,000.
  let place = (number * 7_919) % 10_000;
  for (const [kind, share] of Object.entries(SHARES)) {
    if ((place -= share) < 0) return kind;
  }
  return "plain";
}
