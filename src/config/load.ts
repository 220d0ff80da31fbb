import { parse, TomlError } from "smol-toml";
import { fileReason } from "../core/text/file_error.ts";
import { BROKER_TYPES } from "../brokers/mod.ts";
import type { BrokerType } from "../brokers/broker_type.ts";
import { checkReferences } from "./checks.ts";
import type { Config } from "./config.ts";
import { expandEnvironment, takeNumbers, type Variables } from "./environment.ts";
import { ConfigError } from "./errors.ts";
import { type Problem, problemsOf } from "./problems.ts";
import { resolveConfig } from "./resolve.ts";

export interface ConfigDeps {
  readonly env: Variables;
  /** Reads a file; throws like `Deno.readFileSync`. */
  readonly readFile: (path: string) => Uint8Array;
  /** The real place of a file, whose path may be a link; the path itself when absent. */
  readonly placeOf?: (path: string) => string;
  /** The kinds of brokers; this program's when absent. */
  readonly brokerTypes?: readonly BrokerType[];
  /** Why this user cannot read a file, and the remedy: the end of a sentence. */
  readonly whyRefused?: (path: string) => Promise<string>;
}

/**
 * Reads and checks a configuration file.
 *
 * @throws {ConfigError} CONFIG_INVALID when it cannot be read or used; see {@link parseConfig}.
 */
export async function loadConfig(path: string, deps: ConfigDeps): Promise<Config> {
  let bytes: Uint8Array;
  try {
    bytes = deps.readFile(path);
  } catch (cause) {
    throw new ConfigError(
      "CONFIG_INVALID",
      `Cannot read the configuration "${path}": ${await whyUnreadable(cause, path, deps)}`,
      { cause },
    );
  }
  return await parseConfig(textOf(bytes, path), path, deps);
}

/** Invalid UTF-8 would become another text, such as another file's name. */
function textOf(bytes: Uint8Array, source: string): string {
  try {
    return new TextDecoder("utf-8", { fatal: true }).decode(bytes);
  } catch (cause) {
    const lines = new TextDecoder().decode(bytes).split("\n");
    const line = lines.findIndex((text) => text.includes("\ufffd")) + 1;
    const column = lines[line - 1]!.indexOf("\ufffd") + 1;
    throw new ConfigError(
      "CONFIG_INVALID",
      `${source}:${line}:${column}: not UTF-8: save the file in that encoding`,
      {
        cause,
        details: { problems: 1 },
      },
    );
  }
}

/**
 * Checks a configuration's text.
 *
 * @param source The file's path, for messages; relative paths in the text begin at its folder.
 * @throws {ConfigError} CONFIG_INVALID with all problems at once, one a line, in the order of the text, as `file:line:column:
 * what is wrong and what to do`. A syntax error is the only problem, followed by its place in the text.
 */
export async function parseConfig(
  text: string,
  source: string,
  deps: Pick<ConfigDeps, "env" | "placeOf" | "brokerTypes">,
): Promise<Config> {
  const written = parseToml(text, source);
  const expanded = expandEnvironment(written, deps.env);
  // zod takes longer to load than everything else here: so only when there is a file to check.
  const { readFile, tablesOf } = await import("./schema.ts");
  const types = deps.brokerTypes ?? BROKER_TYPES;
  const { data } = expanded;
  let read = readFile(data, types);
  if (takeNumbers(data, written, read.issues.map(({ path }) => path))) read = readFile(data, types);
  const { file } = read;
  // The consequences of an unset variable are no problem of their own; a wrong name of a key is.
  const follows = (path: readonly PropertyKey[]) =>
    expanded.problems.some((cause) => cause.path.every((step, index) => path[index] === step));
  const issues = read.issues.filter(({ code, path }) => code === "invalid_key" || !follows(path));
  const problems = [
    ...expanded.problems,
    ...problemsOf(issues, written, tablesOf(types)),
    ...checkReferences({ file, written: data, types }).filter(({ path }) => !follows(path)),
  ];
  if (problems.length === 0) return resolveConfig(file, deps.placeOf?.(source) ?? source, types);
  throw await invalid(problems, text, source);
}

async function invalid(problems: readonly Problem[], text: string, source: string): Promise<ConfigError> {
  const { locateKeys } = await import("./positions.ts");
  const locate = locateKeys(text);
  const lines = problems
    .map(({ path, text }) => ({ ...locate(path), text }))
    .sort((a, b) => a.line - b.line || a.column - b.column)
    .map(({ line, column, text }) => `${source}:${line}:${column}: ${text}`);
  return new ConfigError("CONFIG_INVALID", lines.join("\n"), { details: { problems: lines.length } });
}

function parseToml(text: string, source: string): Readonly<Record<string, unknown>> {
  try {
    return parse(text);
  } catch (error) {
    if (!(error instanceof TomlError)) throw error;
    const reason = error.message.split("\n", 1)[0]!.replace("Invalid TOML document: ", "")
      .replace(/^document contains excessively nested.*/, "nested too deeply");
    // Missing quotes are the most frequent mistake.
    const isVariable = /=\s*\$\{\w+\}/.test(text.split("\n")[error.line - 1] ?? "");
    const advice = isVariable
      ? '; a variable needs quotes, also for a number, as in key = "${NAME}"'
      : reason === "invalid value"
      ? '; a text needs quotes, as in key = "text"'
      // A value that begins with a digit, such as 127.0.0.1:9000 or 30s, is parsed as a number.
      : /numeric|leading zero|invalid date/.test(reason)
      ? '; a text needs quotes, as in key = "text", and a number has nothing but digits'
      : "";
    const what = `not valid TOML: ${reason}${keyOf(text, error.line)}${advice}`;
    throw new ConfigError("CONFIG_INVALID", `${source}:${error.line}:${error.column}: ${what}`, {
      details: { problems: 1 },
    });
  }
}

/** The key that a line sets, if any. Its value may be a secret without quotes. */
function keyOf(text: string, line: number): string {
  const key = /^\s*([\w.-]+)\s*=/.exec(text.split("\n")[line - 1] ?? "")?.[1];
  return key === undefined ? "" : `, in "${key}"`;
}

/** Why a configuration could not be read, and the remedy: the end of a sentence. */
export async function whyUnreadable(
  error: unknown,
  path: string,
  { whyRefused }: Pick<ConfigDeps, "whyRefused">,
): Promise<string> {
  if (error instanceof Deno.errors.NotFound) {
    return `no such file; name another with --config or FERVO_CONFIG, or make one with: fervo-worker init ${path}`;
  }
  if (error instanceof Deno.errors.PermissionDenied) {
    // Under a supervisor, and with `check --user`, the reader of this is another user.
    return await whyRefused?.(path) ?? "permission denied";
  }
  return `${fileReason(error)}; give the path of a TOML file`;
}
