/**
 * Links between the pages of the repository lead to a file that is there, and to a heading of it. So do the names of pages in error texts,
 * comments and examples.
 */
import assert from "node:assert/strict";
import { anchorOf } from "../../scripts/docs/markdown.ts";

const ROOT = new URL("../../", import.meta.url);
const SKIPPED = [".git", ".tools", "node_modules", "vendor", "dist", "coverage", "symfony_vendor"];

function filesIn(folder: string): string[] {
  return [...Deno.readDirSync(new URL(folder, ROOT))].flatMap(({ name, isDirectory, isFile }) =>
    isDirectory
      ? SKIPPED.includes(name) ? [] : filesIn(`${folder}${name}/`)
      : isFile
      ? [`${folder}${name}`]
      : []
  );
}

/** Without what stands in blocks of code. */
function prose(page: string): string {
  return Deno.readTextFileSync(new URL(page, ROOT)).replaceAll(/^ *```[^]*?^ *```$/gm, "");
}

/** The places of a page: its headings, the second of the same name with `-1` behind it, and so on. */
function anchorsOf(page: string): Set<string> {
  const anchors = new Map<string, number>();
  const all = [...prose(page).matchAll(/^#+ (.+)$/gm)].map(([, heading]) => {
    const anchor = anchorOf(heading!.replaceAll(/\[([^\]]*)\]\([^)]*\)/g, "$1"));
    const count = anchors.get(anchor) ?? 0;
    anchors.set(anchor, count + 1);
    return count === 0 ? anchor : `${anchor}-${count}`;
  });
  return new Set(all);
}

function isThere(path: string): boolean {
  try {
    Deno.statSync(new URL(path, ROOT));
    return true;
  } catch {
    return false;
  }
}

/** What is wrong with the links of a page. */
function brokenIn(page: string): string[] {
  const links = prose(page).replaceAll(/`[^`\n]*`/g, "").matchAll(/\]\(([^)\s]+)\)/g);
  return [...links].map(([, link]) => link!).filter((link) => !/^[a-z]+:/.test(link)).filter((link) => {
    const [path = "", anchor] = link.split("#");
    const target = path === ""
      ? page
      : new URL(path, new URL(page, ROOT)).pathname.slice(ROOT.pathname.length);
    if (!isThere(target)) return true;
    return anchor !== undefined && target.endsWith(".md") && !anchorsOf(target).has(anchor);
  }).map((link) => `${page}: ${link}`);
}

Deno.test("Each link from one page to another leads to a file and a heading that are there", () => {
  const pages = filesIn("").filter((path) => path.endsWith(".md"));
  assert.ok(pages.length > 50, `${pages.length}`);
  assert.deepEqual(pages.flatMap(brokenIn), []);
});

/** What may name a page of docs/: sources, tests, examples, configurations, scripts. */
const TEXT =
  /\.(?:md|ts|php|toml|sh|yml|json|conf|1)$|^scripts\/[\w-]+$|^packaging\/|^tests\/first_hour\/[\w/]+$/;

Deno.test("Each page of docs/ that a text of the repository names is there", () => {
  // The changelog tells of pages that are gone.
  const files = filesIn("").filter((path) => TEXT.test(path) && path !== "CHANGELOG.md");
  const named = files.flatMap((file) => {
    const text = Deno.readTextFileSync(new URL(file, ROOT));
    return [...text.matchAll(/(?<![\w/.-])docs\/[\w/-]+\.(?:md|yml|json)\b/g)].map(([page]) => ({
      file,
      page,
    }));
  });
  assert.ok(named.length > 50, `${named.length}`);
  // A package has pages of its own beside it.
  const missing = named.filter(({ file, page }) =>
    !isThere(page) && !isThere(`${file.split("/").slice(0, 2).join("/")}/${page}`)
  );
  assert.deepEqual(missing.map(({ file, page }) => `${file}: ${page}`), []);
});
