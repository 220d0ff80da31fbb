import type { Config } from "../../../config/config.ts";
import { consumedQueues } from "../../../config/options/consumed_queues.ts";
import type { SharedStore } from "../../../doctor/messenger.ts";

/** The brokers whose messages are a framework's, with the queues that consumers take from them. */
export function sharedStores(config: Config): SharedStore[] {
  return [...config.brokers].flatMap(([name, { type, settings }]) => {
    const store = type.frameworkStore?.(settings);
    return store === undefined ? [] : [{ ...store, name, queues: consumedQueues(config, name) }];
  });
}
