/** Which npm packages are in the program: those from which the bundle has code. */

/** A package of deno.lock. */
export interface LockedPackage {
  readonly name: string;
  readonly version: string;
  /** As npm writes it: "sha512-" and Base64. */
  readonly integrity: string;
  /** Names, with a version where the name alone is not unique. */
  readonly dependencies: readonly string[];
}

export const ROOT = new URL("../../", import.meta.url).pathname;

/** Every package of deno.lock, by "NAME@VERSION". */
export async function lockedPackages(root = ROOT): Promise<Map<string, LockedPackage>> {
  const lock = JSON.parse(await Deno.readTextFile(`${root}deno.lock`)) as {
    npm: Record<string, { integrity: string; dependencies?: string[] }>;
  };
  return new Map(
    Object.entries(lock.npm).map(([key, { integrity, dependencies = [] }]) => {
      const [, name, version] = /^(@?[^@]+)@([^_]+)/.exec(key)!;
      return [`${name}@${version}`, { name: name!, version: version!, integrity, dependencies }];
    }),
  );
}

/**
 * The packages that the bundle has code of, as its source maps tell, by name. The bundle is made as scripts/compile makes it.
 *
 * @throws {Error} when the bundle has code of a package that is not in deno.lock
 */
export async function bundledPackages(root = ROOT): Promise<LockedPackage[]> {
  const locked = await lockedPackages(root);
  const folder = await Deno.makeTempDir({ prefix: "fervo-bundle-" });
  try {
    await bundle(root, folder);
    const found = new Map<string, LockedPackage>();
    for (const { name } of Deno.readDirSync(folder)) {
      if (!name.endsWith(".map")) continue;
      const { sources } = JSON.parse(await Deno.readTextFile(`${folder}/${name}`)) as { sources: string[] };
      for (const source of sources) {
        const key = packageOf(source, locked);
        if (key === undefined) continue;
        const each = locked.get(key);
        if (each === undefined) throw new Error(`The bundle has code of ${key}, which is not in deno.lock`);
        found.set(key, each);
      }
    }
    return [...found.entries()].sort(([a], [b]) => a < b ? -1 : 1).map(([, each]) => each);
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function bundle(root: string, folder: string): Promise<void> {
  const args = ["bundle", "--quiet", "--platform", "deno", "--code-splitting", "--minify"];
  const command = new Deno.Command(Deno.execPath(), {
    args: [...args, "--sourcemap=external", "--outdir", folder, "main.ts"],
    cwd: root,
    stdin: "null",
  });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`deno bundle has failed: ${new TextDecoder().decode(stderr)}`);
}

/** The package that a source belongs to; undefined for our own. */
function packageOf(source: string, locked: ReadonlyMap<string, LockedPackage>): string | undefined {
  const match = /\/npm\/[^/]+\/((?:@[^/]+\/)?[^/]+)\/([^/]+)\//.exec(source);
  if (match === null) {
    if (/\/npm\/|node_modules/.test(source)) throw new Error(`Cannot tell the package of ${source}`);
    return undefined;
  }
  const [, name, version] = match;
  if (/^\d/.test(version!)) return `${name}@${version}`;
  // A package's own source map may lead out of its folder of that version.
  const versions = [...locked.values()].filter((each) => each.name === name);
  if (versions.length !== 1) throw new Error(`Cannot tell the version of ${name} by ${source}`);
  return `${name}@${versions[0]!.version}`;
}

/** Where Deno keeps the files of a package. */
export async function packageFolder({ name, version }: LockedPackage): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), { args: ["info", "--json"], stdin: "null" });
  const { npmCache } = JSON.parse(new TextDecoder().decode((await command.output()).stdout));
  for (const registry of Deno.readDirSync(npmCache)) {
    const folder = `${npmCache}/${registry.name}/${name}/${version}`;
    if (await Deno.stat(folder).then(() => true, () => false)) return folder;
  }
  throw new Error(`Cannot find ${name}@${version} in ${npmCache}: run deno install`);
}
