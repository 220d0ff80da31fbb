/**
 * Prints sentences of the documentation, drawn at random, so that a person reads them without their context: each has to be understood at
 * the first reading. The same seed draws the same sentences of a page that has not changed.
 *
 *     deno task docs:sentences [--seed N] [--count N] [PAGE…]
 */
import { parseArgs } from "node:util";
import { SeededRandom } from "../../tests/support/seeded_random.ts";
import { sentencesOf } from "./sentences.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const PLACES = ["README.md", "docs", "php/runner/README.md", "php/bundle/README.md", "php/bundle/docs"];

const { values, positionals } = parseArgs({
  args: Deno.args,
  allowPositionals: true,
  options: { seed: { type: "string", default: "1" }, count: { type: "string", default: "5" } },
});

function pagesIn(place: string): string[] {
  if (Deno.statSync(`${ROOT}${place}`).isFile) return [place];
  return [...Deno.readDirSync(`${ROOT}${place}`)].sort((a, b) => a.name < b.name ? -1 : 1)
    .flatMap(({ name, isDirectory }) =>
      isDirectory ? pagesIn(`${place}/${name}`) : name.endsWith(".md") ? [`${place}/${name}`] : []
    );
}

/** A page's name, and the sentences that were drawn of it. */
function drawn(page: string): string {
  const left = sentencesOf(Deno.readTextFileSync(`${ROOT}${page}`));
  // By the page as well, so that another page does not change what is drawn of this one.
  const seed = [...page].reduce(
    (sum, letter) => (sum * 31 + letter.codePointAt(0)!) | 0,
    Number(values.seed),
  );
  const random = new SeededRandom(seed);
  const lines = Array.from(
    { length: Math.min(Number(values.count), left.length) },
    () => `  - ${left.splice(random.below(left.length), 1)[0]}\n`,
  );
  return `${page}\n${lines.join("")}`;
}

const pages = positionals.length > 0 ? positionals : PLACES.flatMap(pagesIn);
await Deno.stdout.write(new TextEncoder().encode(pages.map(drawn).join("\n")));
