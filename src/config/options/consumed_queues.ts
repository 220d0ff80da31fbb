import type { Config } from "../config.ts";

/** The consumed queues of a broker, each once. */
export function consumedQueues({ consumers }: Config, broker: string): string[] {
  const queues = consumers.filter((consumer) => consumer.broker === broker).flatMap(({ queues }) => queues);
  return [...new Set(queues.map(({ name }) => name))];
}
