import type { DeadGroup, DeadGroups, DeadLetter } from "../core/admin.ts";

/** The newest dead letters are grouped, at most this many; and at most this many bytes of their messages are read. */
export const GROUPED_LETTERS = 10_000;
export const GROUPED_BYTES = 64 * 2 ** 20;

/** A message is cut at this length, code units. */
const MAX_MESSAGE_LENGTH = 200;
/** The varying parts of errors of one cause: numbers, hashes, UUIDs, addresses. */
const VARYING = /\b(?:0x)?[0-9a-f]*\d[0-9a-f]*(?:-[0-9a-f]+)*\b|\d+/gi;

/** Groups dead letters by the code of their error and the common part of the first lines of the messages. Pure. */
export class DeadGrouping {
  readonly #groups = new Map<string, DeadGroup>();
  #counted = 0;

  /** Letters may come in any order. */
  add({ id, diedAtMs, error }: Pick<DeadLetter, "id" | "diedAtMs" | "error">): void {
    const message = error.message.split("\n", 1)[0]!.slice(0, MAX_MESSAGE_LENGTH).replaceAll(VARYING, "#");
    const key = `${error.code}\n${message}`;
    const { code } = error;
    const group = this.#groups.get(key) ?? { code, message, count: 0, exampleId: id };
    const isNewest = (diedAtMs ?? -Infinity) > (group.newestMs ?? -Infinity);
    this.#groups.set(key, {
      ...group,
      count: group.count + 1,
      ...(diedAtMs !== undefined && { oldestMs: Math.min(diedAtMs, group.oldestMs ?? Infinity) }),
      ...(isNewest && { newestMs: diedAtMs!, exampleId: id }),
    });
    this.#counted++;
  }

  /** @param isWhole Whether all letters were added. */
  result(isWhole: boolean): DeadGroups {
    const groups = [...this.#groups.values()].sort((a, b) =>
      b.count - a.count || (b.newestMs ?? 0) - (a.newestMs ?? 0)
    );
    return { groups, counted: this.#counted, isWhole };
  }
}
