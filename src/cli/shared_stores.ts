import type { Config } from "../config/config.ts";
import { consumedQueues } from "../config/options/consumed_queues.ts";
import type { SharedStore } from "../doctor/messenger.ts";

/** The brokers of a configuration whose messages are a framework's. */
export function sharedStores(config: Config): SharedStore[] {
  return [...config.brokers].flatMap(([name, { type, settings }]) => {
    const store = type.frameworkStore?.(settings);
    return store === undefined ? [] : [{ ...store, name, queues: consumedQueues(config, name) }];
  });
}

/**
 * Tells a broker's own queues from those of other brokers with the same messages: two brokers can have one table of a framework,
 * each with settings of its own. A queue is that of the brokers whose consumers take from it, and without any the first broker's.
 *
 * @param broker Its name.
 */
export function isQueueOfOther(config: Config, broker: string): (queue: string) => boolean {
  const stores = sharedStores(config);
  const own = stores.find(({ name }) => name === broker);
  if (own === undefined) return () => false;
  const all = stores.filter(({ place }) => place === own.place);
  return (queue) => {
    if (own.queues.includes(queue)) return false;
    const queueName = own.nameOf(queue);
    const isConsumed = all.some(({ queues, nameOf }) =>
      // Dead letters know the queue by its name at the broker that has buried them.
      queues.some((other) => other === queue || nameOf(other) === queueName)
    );
    return isConsumed || all[0] !== own;
  };
}
