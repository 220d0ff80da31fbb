/** A queue and its weight. */
export interface WeightedQueue {
  readonly name: string;
  readonly weight: number;
}

/**
 * The order in which a consumer asks for its queues. Strict: always as configured. Weighted: drawn again each time; a queue of
 * weight 3 comes first three times as often as one of weight 1, and no queue starves.
 */
export function queueOrder(
  queues: readonly WeightedQueue[],
  order: "strict" | "weighted",
  random: () => number,
): () => readonly string[] {
  const names = queues.map((queue) => queue.name);
  if (order === "strict" || queues.length === 1) return () => names;
  return () => draw(queues, random);
}

function draw(queues: readonly WeightedQueue[], random: () => number): string[] {
  const left = [...queues];
  const drawn: string[] = [];
  while (left.length > 0) {
    let ticket = random() * left.reduce((sum, queue) => sum + queue.weight, 0);
    const at = left.findIndex((queue) => (ticket -= queue.weight) < 0);
    // Rounding can put a ticket just past the last queue.
    drawn.push(...left.splice(at < 0 ? left.length - 1 : at, 1).map((queue) => queue.name));
  }
  return drawn;
}
