/**
 * Makes what is published of the Composer packages: php/runner, as it is in HEAD, as a commit on the branch split/runner, and php/bundle
 * as one on split/bundle.
 *
 *   deno task split                       links that lead out of a package become text
 *   deno task split --repository URL      they lead to URL/blob/COMMIT/…, where most forges show files
 *
 * The same commit gives the same commits. Where nothing of a package has changed, its branch stays.
 */
import { dirname, join, normalize } from "node:path";

const PACKAGES = ["runner", "bundle"];

/** A link of Markdown; it may stand in code, where links of these packages do not. */
const LINK = /\[([^\]]*)\]\(([^)\s#]+)(#[^)\s]*)?\)/g;

/**
 * A document of a package, as it is without the rest of the repository.
 *
 * @param path Of the document, from the root of the repository.
 * @param url Where files of the repository are shown; without, a link that leads out becomes its text.
 */
export function documentAlone(text: string, path: string, folder: string, url?: string): string {
  return text.replaceAll(LINK, (link, words: string, to: string, anchor = "") => {
    if (/^[a-z]+:/.test(to)) return link;
    const target = normalize(join(dirname(path), to));
    if (target === folder || target.startsWith(`${folder}/`)) return link;
    return url === undefined ? words : `[${words}](${url}/${target}${anchor})`;
  });
}

/** Runs git in the current folder. @throws {Error} when it fails, with what it said */
async function git(
  args: string[],
  options: { stdin?: string; env?: Record<string, string> } = {},
): Promise<string> {
  const { stdin = "", env = {} } = options;
  const child = new Deno.Command("git", { args, env, stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  const output = child.output();
  const writer = child.stdin.getWriter();
  // git may end without reading it.
  await writer.write(new TextEncoder().encode(stdin)).then(() => writer.close()).catch(() => {});
  const { code, stdout, stderr } = await output;
  if (code !== 0) throw new Error(`git ${args[0]} failed: ${new TextDecoder().decode(stderr).trim()}`);
  return new TextDecoder().decode(stdout);
}

const line = async (...args: string[]) => (await git(args)).trim();

/** The tree of a package's folder with its documents as they are alone. */
async function treeAlone(folder: string, url: string | undefined): Promise<string> {
  const index = { GIT_INDEX_FILE: await Deno.makeTempFile({ prefix: "fervo-split-" }) };
  await Deno.remove(index.GIT_INDEX_FILE);
  try {
    await git(["read-tree", `HEAD:${folder}`], { env: index });
    const entries = (await git(["ls-tree", "-r", `HEAD:${folder}`])).trim().split("\n");
    for (const entry of entries.filter((entry) => entry.endsWith(".md"))) {
      const [, mode, path] = /^(\d+) \S+ \S+\t(.*)$/.exec(entry)!;
      const text = await git(["show", `HEAD:${folder}/${path}`]);
      const stdin = documentAlone(text, `${folder}/${path}`, folder, url);
      const blob = (await git(["hash-object", "-w", "--stdin"], { stdin })).trim();
      await git(["update-index", "--cacheinfo", `${mode},${blob},${path}`], { env: index });
    }
    return (await git(["write-tree"], { env: index })).trim();
  } finally {
    await Deno.remove(index.GIT_INDEX_FILE).catch(() => {});
  }
}

/** @returns What was done, for people. */
async function split(name: string, repository: string | undefined): Promise<string> {
  const folder = `php/${name}`;
  const branch = `split/${name}`;
  // The latest one that changed it, so that a package without a change has no new commit.
  const [of, author, mail, date] =
    (await line("log", "-1", "--date=raw", "--format=%H%n%an%n%ae%n%ad", "--", folder))
      .split("\n") as [string, string, string, string];
  const tree = await treeAlone(folder, repository && `${repository}/blob/${of}`);
  const tip = await line("rev-parse", "--quiet", "--verify", `refs/heads/${branch}`).catch(() => undefined);
  if (tip !== undefined && await line("rev-parse", `${tip}^{tree}`) === tree) {
    return `${branch} is up to date`;
  }
  const env: Record<string, string> = {};
  for (const role of ["AUTHOR", "COMMITTER"]) {
    Object.assign(env, {
      [`GIT_${role}_NAME`]: author,
      [`GIT_${role}_EMAIL`]: mail,
      [`GIT_${role}_DATE`]: date,
    });
  }
  const args = ["commit-tree", tree, "-m", `${folder} of fervo-worker ${of}`];
  const commit = (await git([...args, ...tip === undefined ? [] : ["-p", tip]], { env })).trim();
  await git(["update-ref", `refs/heads/${branch}`, commit, tip ?? ""]);
  return `${branch} is ${commit}`;
}

function say(text: string, stream: { writeSync(bytes: Uint8Array): number } = Deno.stdout): void {
  stream.writeSync(new TextEncoder().encode(`${text}\n`));
}

if (import.meta.main) {
  const [option, repository, ...more] = Deno.args;
  const isUsed = option === undefined ||
    option === "--repository" && /^https?:\/\/\S+$/.test(repository ?? "");
  if (!isUsed || more.length > 0) {
    say(
      "usage: deno task split [--repository URL], with the URL at which a forge shows the repository",
      Deno.stderr,
    );
    Deno.exit(2);
  }
  for (const name of PACKAGES) say(await split(name, repository?.replace(/\/$/, "")));
}
