/** How many of 1,000 jobs do what (see job.php). What is left are plain ones, which do nothing. */
const SHARES = {
  slow: 40,
  flaky: 10,
  noisy: 5,
  large: 5,
  wrong: 4,
  exits: 2,
  hopeless: 1,
  crashes: 1,
};
const LARGE_BYTES = 60_000;

/** The payload of a job. Its number says what it does, so that a run can be played again. */
export function payloadOf(number: number): string {
  const kind = kindOf(number);
  return JSON.stringify({ number, kind, ...(kind === "large" && { filling: "x".repeat(LARGE_BYTES) }) });
}

function kindOf(number: number): string {
  // Neighbours differ: a prime that has no common factor with 1,000.
  let place = (number * 7_919) % 1_000;
  for (const [kind, share] of Object.entries(SHARES)) {
    if ((place -= share) < 0) return kind;
  }
  return "plain";
}
