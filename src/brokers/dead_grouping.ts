import type { DeadGroup, DeadGroups, DeadLetter } from "../core/admin.ts";

/** Dead letters that are looked at to group them, the newest; and bytes of their messages that are read for that. */
export const GROUPED_LETTERS = 10_000;
export const GROUPED_BYTES = 64 * 2 ** 20;

/** What is shown of a message, code units. */
const MAX_MESSAGE_LENGTH = 200;
/** What differs between errors of one cause: numbers, hashes, UUIDs, addresses. */
const VARYING = /\b(?:0x)?[0-9a-f]*\d[0-9a-f]*(?:-[0-9a-f]+)*\b|\d+/gi;

/** Groups dead letters by their error's code, and what is alike in the first lines of the messages. Pure. */
export class DeadGrouping {
  readonly #groups = new Map<string, DeadGroup>();
  #counted = 0;

  /** Letters come in any order. */
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

  /** @param isWhole Whether all letters there are were added. */
  result(isWhole: boolean): DeadGroups {
    const groups = [...this.#groups.values()].sort((a, b) =>
      b.count - a.count || (b.newestMs ?? 0) - (a.newestMs ?? 0)
    );
    return { groups, counted: this.#counted, isWhole };
  }
}
