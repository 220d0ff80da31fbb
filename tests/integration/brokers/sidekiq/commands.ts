/** What other processes do to a Redis queue in the tests: `deno run -A brokers/sidekiq/commands.ts COMMAND SOCKET …`. */
import { systemClock } from "../../../../src/core/time/clock.ts";
import { sidekiq7 } from "../../../../src/formats/sidekiq.ts";
import { DEFAULT_REDIS_OPTIONS, SidekiqBroker } from "../../../../src/brokers/sidekiq/broker.ts";
import { bytes, take, textOf } from "../../../conformance/fixture.ts";
import { newOwner } from "./broker.ts";
import { ACK } from "../../../support/verdicts.ts";

const [command, path, ...args] = Deno.args as [string, string, ...string[]];

function open(leaseMs: number): SidekiqBroker {
  return SidekiqBroker.open({ clock: systemClock, owner: newOwner(), format: sidekiq7 }, {
    ...DEFAULT_REDIS_OPTIONS,
    target: { kind: "server", endpoint: { transport: "unix", path } },
    leaseMs,
  });
}

const COMMANDS: Readonly<Record<string, () => Promise<void>>> = {
  /** Takes jobs from "q" and keeps them until it is killed. */
  async hold() {
    const broker = open(Number(args[0]));
    let held = 0;
    while (held < Number(args[1])) held += (await take(broker, { max: Number(args[1]) - held })).length;
    say(`${held}`);
    await new Promise(() => setInterval(() => {}, 1_000));
  },

  /** Takes and acknowledges jobs from "q" until it is killed; says the argument of each, before the acknowledgement. */
  async work() {
    const broker = open(Number(args[0]));
    say("ready");
    for (;;) {
      try {
        const deliveries = await take(broker, { max: 10, waitMs: 1_000 });
        for (const delivery of deliveries) say(JSON.parse(textOf(delivery)).args[0]);
        // Else it would be done before anybody can kill it.
        await new Promise((resolve) => setTimeout(resolve, 3));
        await Promise.all(deliveries.map((delivery) => delivery.settle(ACK)));
      } catch {
        // The next turn tries again.
      }
    }
  },
};

function say(line: string): void {
  Deno.stdout.writeSync(bytes(`${line}\n`));
}

await COMMANDS[command]!();
