import { type Clock, sleep } from "../../core/time/clock.ts";
import { isProcessThere } from "../../system/proc.ts";

/** The pause between two checks whether the group has ended, milliseconds. */
const LOOK_MS = 50;

/**
 * Ends a process and all its descendants: TERM to its group, and after `killAfterMs` milliseconds KILL to the rest, also when
 * the process itself has obeyed. A descendant that has left the group (setsid) is not reached.
 *
 * Resolves when no process of the group is left to end; never rejects.
 *
 * @param leader Spawned with `detached`, so that its id is the group's, too.
 */
export async function endGroup(
  leader: { readonly pid: number; readonly status: Promise<unknown> },
  clock: Clock,
  killAfterMs: number,
): Promise<void> {
  const deadlineMs = clock.monotonicMs() + killAfterMs;
  signalGroup(leader.pid, "SIGTERM");
  const leaderEnded = new AbortController();
  void leader.status.then(() => leaderEnded.abort());
  await sleep(clock, killAfterMs, leaderEnded.signal);
  // The number of an ended group may be given to a new one, which must get no KILL.
  while (isProcessThere(-leader.pid)) {
    const leftMs = deadlineMs - clock.monotonicMs();
    if (leftMs <= 0) {
      signalGroup(leader.pid, "SIGKILL");
      // The kernel ends it in time; what is left has not been collected.
      return await sleep(clock, LOOK_MS);
    }
    await sleep(clock, Math.min(leftMs, LOOK_MS));
  }
}

/** An ended group needs no signal, and a group of another user (sudo) cannot get one. */
function signalGroup(group: number, signal: Deno.Signal): void {
  try {
    Deno.kill(-group, signal);
  } catch {
    // Its leader's end shows the result.
  }
}
