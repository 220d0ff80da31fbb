/** A worker of its own process: `deno run -A brokers/beanstalkd/commands.ts ADDRESS`. It takes jobs and keeps them. */
import { raw } from "../../../../src/formats/raw.ts";
import { bytes, take } from "../../../conformance/fixture.ts";
import { systemClock } from "../../../../src/core/time/clock.ts";
import { BeanstalkdBroker, DEFAULT_BEANSTALKD_OPTIONS } from "../../../../src/brokers/beanstalkd/broker.ts";
import { parseAddress } from "../../../../src/fastcgi/address.ts";

const broker = new BeanstalkdBroker({ clock: systemClock, format: raw }, {
  ...DEFAULT_BEANSTALKD_OPTIONS,
  address: parseAddress(Deno.args[0]!),
});
const swept = await take(broker, { max: 2 });
const waiting = take(broker, { waitMs: 60_000 });
Deno.stdout.writeSync(bytes(`${swept.length}\n`));
Deno.stdout.writeSync(bytes(`${(await waiting).length}\n`));
await new Promise((resolve) => setTimeout(resolve, 60_000));
