/** The messages of the conformance test. */
import { SeededRandom } from "../seeded_random.ts";

/** What the command app:dispatch takes. */
export interface Message {
  /** A number, the action and the transport. */
  readonly name: string;
  readonly class: "Task" | "Pair" | "Item" | "Signed" | "Orphan";
  readonly transport: "php" | "json";
  readonly action: string;
}

/** How many messages of each kind there are, on each of the two transports. */
const KINDS: readonly (readonly [Message["class"], action: string, count: number])[] = [
  ["Task", "ok", 76],
  ["Task", "prints", 2],
  ["Task", "delayed", 6],
  ["Task", "fails twice", 6],
  ["Task", "fails", 6],
  ["Task", "unrecoverable", 6],
  ["Task", "recoverable", 2],
  ["Task", "recoverable later", 2],
  ["Task", "exit", 1],
  ["Task", "exit once", 2],
  ["Task", "fatal error", 1],
  ["Task", "memory", 1],
  ["Task", "runs too long", 1],
  ["Task", "garbage", 2],
  ["Task", "class gone", 2],
  ["Task", "dispatches", 4],
  ["Task", "dispatches and fails", 2],
  ["Task", "stops the worker", 1],
  ["Pair", "ok", 2],
  ["Pair", "first fails", 3],
  ["Pair", "second fails once", 3],
  ["Pair", "second fails", 3],
  ["Item", "ok", 5],
  ["Item", "fails once", 2],
  ["Item", "fails", 2],
  ["Signed", "ok", 2],
  ["Signed", "fails twice", 1],
  ["Signed", "fails", 1],
  ["Signed", "exit", 1],
  ["Orphan", "ok", 2],
];

/**
 * Messages for both transports, in an order that is random and always the same.
 *
 * @param count 300, or one of each kind on each transport.
 */
export function messages(count: 300 | "one of each"): Message[] {
  const all = KINDS.flatMap(([type, action, ofKind]) =>
    (["php", "json"] as const).flatMap((transport) =>
      Array.from({ length: count === 300 ? ofKind : 1 }, () => ({ class: type, action, transport }))
    )
  );
  const random = new SeededRandom(18);
  return all.map((message) => ({ message, at: random.next() })).sort((a, b) => a.at - b.at)
    .map(({ message }, index) => ({ ...message, name: nameOf(message, index) }));
}

/** Whether PHP dies of the message, or has no time for it. */
export function killsPhp({ action }: Message): boolean {
  return ["exit", "exit once", "fatal error", "memory", "runs too long"].includes(action);
}

function nameOf({ class: type, action, transport }: Omit<Message, "name">, index: number): string {
  return `${String(index).padStart(3, "0")}-${type} ${action} ${transport}`.toLowerCase().replaceAll(
    " ",
    "-",
  );
}
