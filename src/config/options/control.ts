import { basename, dirname, resolve } from "node:path";
import { parse } from "smol-toml";
import { DEFAULT_CONTROL_SOCKET } from "../config.ts";
import { expandEnvironment, type Variables } from "../environment.ts";
import { isTable } from "../problems.ts";

/** Where a worker has its socket whose configuration is below /etc, which is no place for it. */
const RUNTIME_FOLDER = "/run/fervo-worker";

/**
 * The path of the control socket; undefined for none.
 *
 * @param written As in the file: a path, "auto" or "".
 * @param source The file's path.
 */
export function controlSocketOf(written: string, source: string): string | undefined {
  if (written === "") return undefined;
  const path = resolve(source);
  if (written !== DEFAULT_CONTROL_SOCKET) return resolve(dirname(path), written);
  const folder = path.startsWith("/etc/") ? RUNTIME_FOLDER : dirname(path);
  return `${folder}/${basename(path).replace(/\.toml$/, "")}.sock`;
}

/**
 * The same, of a file that need not be in order: a worker that runs has to be reached also while somebody is editing its
 * configuration. What cannot be read there is taken for left out.
 */
export function findControlSocket(
  text: string,
  source: string,
  deps: { readonly env: Variables },
): string | undefined {
  return controlSocketOf(writtenSocket(text, deps) ?? DEFAULT_CONTROL_SOCKET, source);
}

function writtenSocket(text: string, { env }: { readonly env: Variables }): string | undefined {
  let file: unknown;
  try {
    file = parse(text);
  } catch {
    return undefined;
  }
  const control = isTable(file) ? file["control"] : undefined;
  const { data } = expandEnvironment(control, env);
  const socket = isTable(data) ? data["socket"] : undefined;
  return typeof socket === "string" ? socket : undefined;
}
