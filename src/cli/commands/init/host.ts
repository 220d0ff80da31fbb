import { dirname, resolve } from "node:path";
import frontController from "../../../../examples/plain-php/fervo-standalone.php" with { type: "text" };
import handlers from "../../../../examples/plain-php/handlers.php" with { type: "text" };
import { newestFpm } from "../../../fpm/find_php.ts";
import { parseConfig } from "../../../config/load.ts";
import { FervoError } from "../../../core/errors.ts";
import { visibleLines } from "../../../core/text/visible.ts";
import { fileReason } from "../../../core/text/file_error.ts";
import { fpmName } from "../../../service/service.ts";
import { type Account, findAccount, whyCannotRead, whyCannotRun } from "../../../system/account.ts";
import { writeWithMode } from "../../../system/write_with_mode.ts";
import { hostConfig, hostPlaces } from "./host_config.ts";
import { CONFIG_FOLDER, DEFAULT_NAME, serviceFilesOf } from "./service.ts";
import type { ConfigReader } from "../../context.ts";
import type { Io } from "../../io.ts";

export const SERVICE_KINDS = ["supervisor", "systemd"] as const;
export const APP_KINDS = ["plain", "symfony"] as const;

/** The options of `init --service`. */
export interface HostOptions {
  readonly service: typeof SERVICE_KINDS[number];
  /** Distinguishes several workers of a machine. */
  readonly name: string;
  readonly user: string;
  readonly app: typeof APP_KINDS[number];
  /**
   * The front controller. When absent, one is written with "plain"; with "symfony" it is the one of the application in the
   * current folder.
   */
  readonly script?: string | undefined;
  /** The path of fervo-worker; its own when absent. */
  readonly program?: string | undefined;
  /** The newest installed one, when absent. */
  readonly phpFpm?: string | undefined;
}

interface Place {
  readonly path: string;
  readonly owner?: Owner;
}

type Owner = Pick<Account, "uid" | "gid">;

interface Folder extends Place {
  readonly mode: number;
}

interface File extends Place {
  readonly text: string;
  readonly mode: number;
}

/** The result of the set-up. */
export interface HostSetUp {
  readonly written: readonly string[];
  /** The commands that start it, as programs and their arguments. */
  readonly start: readonly (readonly string[])[];
  /** The last command, which runs a first job. */
  readonly tryOut: string;
  /** A fact for the application; undefined for an existing one. */
  readonly note?: string;
  /** What jobs wait for: a sentence without a full stop. */
  readonly warning?: string;
}

/** The folder of each kind of service, and the required package. */
const SERVICE_FOLDERS = {
  supervisor: { folder: "/etc/supervisor/conf.d", install: "apt-get install supervisor" },
  systemd: { folder: "/etc/systemd/system", install: "this machine seems to have no systemd" },
};
/** Composer puts the bundle's front controller there. */
const BUNDLE_SCRIPT = "vendor/fervo/deferred-event-bundle/bin/fervo-run.php";
const BUNDLE_CONFIG = "config/packages/fervo_deferred_event.yaml";
const NAME = /^[a-z][a-z0-9_-]{0,31}$/;

/**
 * Sets up a worker on this machine: configuration, folders, php-fpm, services, and a front controller if there is none. Writes
 * all or nothing, and overwrites nothing.
 *
 * @throws {FervoError} CONFIG_INVALID, with every obstacle that can be seen before
 */
export async function setUpHost(
  { io, brokerTypes }: ConfigReader,
  options: HostOptions,
): Promise<HostSetUp> {
  const { service, name, user, app } = options;
  if (Deno.uid() !== 0) {
    throw invalid(
      "init --service writes below /etc, /var/lib and /run: run it as root, for instance with sudo",
    );
  }
  if (!NAME.test(name)) {
    throw invalid(
      `Cannot call a worker "${name}": a name has up to 32 characters of a-z, 0-9, _ and -, and begins with a letter`,
    );
  }
  const program = resolve(options.program ?? Deno.execPath());
  const phpFpm = options.phpFpm ?? await newestFpm(io.env("PATH") ?? "");
  const account = await findAccount(user);
  const writesScript = options.script === undefined && app === "plain";
  const script = options.script ??
    (app === "plain" ? `/usr/local/lib/${name}/fervo.php` : await bundleScript(io));
  const needed = SERVICE_FOLDERS[service];
  const obstacles = [
    ...(account === undefined ? [`there is no user "${user}": name one with --user`] : []),
    ...(phpFpm === undefined
      ? ["php-fpm is not installed: apt-get install php-fpm, or name it with --php-fpm"]
      : []),
    ...(await exists(needed.folder) ? [] : [`there is no folder "${needed.folder}": ${needed.install}`]),
    ...(script === undefined
      ? [
        `the current folder has no "${BUNDLE_SCRIPT}": go to the application's folder, where the bundle is installed, or name ` +
        "the front controller with --script; bin/console fervo:front-controller prints its path",
      ]
      : script.startsWith("/")
      ? []
      : [`--script "${script}" is not an absolute path`]),
    ...(account === undefined ? [] : present(await whyCannotRun(program, account))),
    ...(account === undefined || script === undefined
      ? []
      : present(await whyCannotRead(script, account)).map((why) =>
        `${why}, or name another user with --user`
      )),
  ];
  if (obstacles.length > 0) throw invalid(sentence(`Cannot set up the worker "${name}"`, obstacles));

  const configFile = `${CONFIG_FOLDER}/${name}.toml`;
  const text = hostConfig(name, script!);
  const config = await parseConfig(text, configFile, { env: io.env, brokerTypes });
  const files: File[] = [
    { path: configFile, text, mode: 0o640, owner: { uid: 0, gid: account!.gid } },
    ...serviceFilesOf({ config, path: configFile, brokerTypes }, {
      [service]: true,
      fpm: true,
      name,
      user,
      program,
      phpFpm: phpFpm!,
    })
      .map((file) => ({ ...file, mode: 0o644 })),
    ...(writesScript
      ? [
        { path: script!, text: frontController, mode: 0o644 },
        { path: `${dirname(script!)}/handlers.php`, text: handlers, mode: 0o644 },
      ]
      : []),
  ];
  const places = hostPlaces(name);
  const folders: Folder[] = [
    { path: CONFIG_FOLDER, mode: 0o755 },
    { path: places.state, mode: 0o750, owner: account! },
    { path: places.run, mode: 0o755, owner: account! },
    { path: places.fpmRun, mode: 0o755, ...(service === "supervisor" && { owner: account! }) },
    ...(writesScript ? [{ path: dirname(script!), mode: 0o755 }] : []),
  ];
  const there = [];
  for (const { path } of files) if (await exists(path)) there.push(`"${path}" exists`);
  for (const { path, owner } of folders) {
    const found = owner && await Deno.stat(path).catch(() => undefined);
    if (found && found.uid !== owner.uid) there.push(`"${path}" exists and belongs to another user`);
  }
  if (there.length > 0) {
    throw invalid(sentence("Nothing was written. Choose another --name, or remove these", there));
  }
  await writeAll(folders, files);
  // It may come with the next deployment.
  const isScriptThere = await exists(script!);
  const besides = name === DEFAULT_NAME ? "" : ` --config ${configFile}`;
  return {
    written: files.map(({ path }) => path),
    start: service === "supervisor"
      ? [["supervisorctl", "update"]]
      : [["systemctl", "daemon-reload"], ["systemctl", "enable", "--now", fpmName(name), name]],
    ...(!isScriptThere && { warning: `There is no "${script}" yet: jobs wait until it exists` }),
    ...(app === "symfony"
      ? {
        tryOut: "bin/console fervo:try",
        note: `The application defers into "${places.state}/queue.sqlite": backend.path in ${BUNDLE_CONFIG}`,
      }
      : { tryOut: `${program} push default '{"hello":"world"}'${besides}` }),
  };
}

/**
 * Runs the commands that start the worker.
 *
 * @throws {FervoError} PROCESS_FAILED, with the output of the failed one
 */
export async function startHost({ start }: HostSetUp): Promise<void> {
  for (const words of start) {
    const failure = await failureOf(words);
    if (failure === undefined) continue;
    throw new FervoError(
      "PROCESS_FAILED",
      `The worker is set up and did not start: ${words.join(" ")} failed: ${failure}`,
    );
  }
}

/** The output of a failed command, or why it could not run. */
async function failureOf([program, ...args]: readonly string[]): Promise<string | undefined> {
  try {
    const command = new Deno.Command(program!, { args, cwd: "/", stdin: "null" });
    const { success, code, stdout, stderr } = await command.output();
    if (success) return undefined;
    const said = [stderr, stdout].map((bytes) => new TextDecoder().decode(bytes).trim()).filter(Boolean);
    return visibleLines(said.join("\n")) || `exit code ${code}`;
  } catch (error) {
    return fileReason(error);
  }
}

/** The bundle's front controller of the application in the current folder, by the shell's path with links. */
async function bundleScript(io: Io): Promise<string | undefined> {
  const named = io.env("PWD") ?? "";
  const isHere = named.startsWith("/") &&
    await Deno.realPath(named).catch(() => undefined) === await Deno.realPath(".").catch(() => undefined);
  const script = `${isHere ? named : Deno.cwd()}/${BUNDLE_SCRIPT}`;
  return await Deno.stat(script).then(() => script, () => undefined);
}

function present(text: string | undefined): string[] {
  return text === undefined ? [] : [text];
}

/** All or nothing: after a failure, the new files are removed again. */
async function writeAll(folders: readonly Folder[], files: readonly File[]): Promise<void> {
  const made: string[] = [];
  try {
    for (const { path, mode, owner } of folders) {
      if (await exists(path)) continue;
      await Deno.mkdir(path);
      made.push(path);
      await give(path, mode, owner);
    }
    for (const { path, text, mode, owner } of files) {
      // Others can see it only once it is theirs.
      await writeWithMode(path, text, { mode: 0o600, overwrite: false });
      made.push(path);
      await give(path, mode, owner);
    }
  } catch (error) {
    for (const path of made.toReversed()) await Deno.remove(path).catch(() => {});
    throw invalid(`Nothing was written: ${fileReason(error)}`);
  }
}

async function give(path: string, mode: number, owner: Owner | undefined): Promise<void> {
  if (owner !== undefined) await Deno.chown(path, owner.uid, owner.gid);
  await Deno.chmod(path, mode);
}

async function exists(path: string): Promise<boolean> {
  return await Deno.lstat(path).then(() => true, () => false);
}

function sentence(what: string, items: readonly string[]): string {
  return items.length === 1
    ? `${what}: ${items[0]}`
    : `${what}:\n${items.map((item) => `  - ${item}`).join("\n")}`;
}

function invalid(text: string): FervoError {
  return new FervoError("CONFIG_INVALID", text);
}
