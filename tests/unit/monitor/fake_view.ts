import type { PoolStats } from "../../../src/fastcgi/pool.ts";
import type { BrokerState } from "../../../src/monitor/broker_watch.ts";
import type { FpmState } from "../../../src/monitor/fpm_watch.ts";
import type { WorkerView } from "../../../src/monitor/worker_view.ts";

type ViewedConsumer = WorkerView["consumers"][number];

/** A worker that is well, except where a test says otherwise. */
export function viewOf(o: {
  state?: WorkerView["worker"]["state"];
  consumer?: Partial<ViewedConsumer>;
  broker?: BrokerState;
  fpm?: FpmState;
  connections?: Partial<PoolStats>;
  stuck?: WorkerView["stuck"];
} = {}): WorkerView {
  const stats = {
    slots: 4,
    busySlots: 1,
    inFlight: 2,
    hasRoom: true,
    isPaused: false,
    heldBack: [],
    receivedAtMs: 1_700_000_000_500,
  };
  return {
    worker: { state: o.state ?? "running" },
    consumers: [{ name: "main", stats, stall: undefined, fault: undefined, ...o.consumer }],
    schedules: [],
    brokers: [{
      name: "queue",
      state: () =>
        Promise.resolve(
          o.broker ??
            { isUp: true, depths: [["mail", { ready: 5, delayed: 4, reserved: 3, dead: 2 }, 1_500]] },
        ),
    }],
    stuck: o.stuck ?? [],
    fpms: [{
      name: "default",
      state: () => Promise.resolve(o.fpm ?? { isUp: true, status: undefined }),
      connections: { busy: 1, idle: 0, waiting: 0, opened: 7, answered: 9, resent: 1, ...o.connections },
    }],
  };
}
