import notices from "../../../../THIRD-PARTY-NOTICES" with { type: "text" };

/** All licences of bundled packages, and of the runtime's own parts. `deno task notices` writes it. */
export { notices };

/** Third-party code in the program. */
export interface Part {
  readonly name: string;
  /** Undefined for a part of the runtime without a version. */
  readonly version: string | undefined;
  /** In SPDX form. */
  readonly license: string;
}

/** The heading of a notice, two lines. */
const HEADING = /^={80}\n(.+)\nLicence: (.+)$/gm;
const PACKAGE = /^(\S+) (\d\S*)$/;

/** The parts in a text such as {@link notices}, in its order. */
export function partsIn(text: string): Part[] {
  return [...text.matchAll(HEADING)].map(([, title, license]) => {
    const match = PACKAGE.exec(title!);
    return { name: match?.[1] ?? title!, version: match?.[2], license: license! };
  });
}
