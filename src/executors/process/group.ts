import { type Clock, sleep } from "../../core/time/clock.ts";
import { isProcessThere } from "../../system/proc.ts";

/** How often to look whether what a process has left behind has ended, milliseconds. */
const LOOK_MS = 50;

/**
 * Ends a process and all that it has started: TERM to its group, and KILL after `killAfterMs` milliseconds to what is
 * left of it, also when the process itself has obeyed. What has left the group (setsid) is not reached.
 *
 * Resolves when nothing of the group is left to end; never rejects.
 *
 * @param leader Spawned with `detached`, so that its id is the group's too.
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
  // The number of a group that is gone may be given to a new one: that must get no KILL.
  while (isProcessThere(-leader.pid)) {
    const leftMs = deadlineMs - clock.monotonicMs();
    if (leftMs <= 0) {
      signalGroup(leader.pid, "SIGKILL");
      // The kernel ends it by the time; what is left, nobody has collected.
      return await sleep(clock, LOOK_MS);
    }
    await sleep(clock, Math.min(leftMs, LOOK_MS));
  }
}

/** A group that is gone needs no signal, and one that belongs to another user (sudo) cannot be sent any. */
function signalGroup(group: number, signal: Deno.Signal): void {
  try {
    Deno.kill(-group, signal);
  } catch {
    // Its leader's end shows what came of it.
  }
}
