import notices from "../../../../THIRD-PARTY-NOTICES" with { type: "text" };

/** Every licence of what is bundled, and of the runtime's own parts. `deno task notices` writes it. */
export { notices };

/** Something of others in the program. */
export interface Part {
  readonly name: string;
  /** Undefined for a part of the runtime that tells none. */
  readonly version: string | undefined;
  /** As SPDX writes it. */
  readonly license: string;
}

/** The line that begins the notice of a part, and the one after it. */
const HEADING = /^={80}\n(.+)\nLicence: (.+)$/gm;
const PACKAGE = /^(\S+) (\d\S*)$/;

/** The parts that a text such as {@link notices} names, in its order. */
export function partsIn(text: string): Part[] {
  return [...text.matchAll(HEADING)].map(([, title, license]) => {
    const match = PACKAGE.exec(title!);
    return { name: match?.[1] ?? title!, version: match?.[2], license: license! };
  });
}
