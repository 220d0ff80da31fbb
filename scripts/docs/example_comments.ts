/*
 * The texts of config.example.toml: what its comments say of each table and each option. They are the one source for people who
 * read the file, and for docs/reference/config.md.
 */

export interface TableComments {
  /** The comment above the table's head; "" for none. */
  readonly text: string;
  /** The comment above each option, by its name. */
  readonly options: ReadonlyMap<string, string>;
}

/** By the table's head, as `[fpm.default]`; "" for what stands above the first. */
export function exampleComments(example: string): ReadonlyMap<string, TableComments> {
  let current = { text: "", options: new Map<string, string>() };
  const tables = new Map([["", current]]);
  /** Comments since the last option; those below the last empty line are the next option's, all of them are the next table's. */
  let paragraphs: string[][] = [[]];
  const take = (from: number) => {
    const text = paragraphs.slice(from).flat().join(" ");
    paragraphs = [[]];
    return text;
  };
  for (const line of example.split("\n")) {
    const head = /^#?(\[\[?[a-z0-9_.]+\]\]?)$/.exec(line)?.[1];
    // `#name = …` is an option that is off; `# name = …` is shown, as it only goes with another value of a further option.
    const option = /^(?:# ?)?([A-Za-z0-9_]+) = /.exec(line)?.[1];
    if (head !== undefined) {
      current = { text: take(0), options: new Map() };
      tables.set(head, current);
    } else if (option !== undefined && !current.options.has(option)) {
      current.options.set(option, take(-1));
    } else if (option !== undefined) {
      paragraphs.at(-1)!.push(`\`${line.slice("# ".length)}\`.`);
    } else if (line === "") {
      paragraphs.push([]);
    } else if (line.startsWith("# ") && !line.startsWith("# ---")) {
      paragraphs.at(-1)!.push(line.slice("# ".length));
    }
  }
  return tables;
}
