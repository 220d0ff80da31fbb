import { basename, dirname, resolve } from "node:path";
import { parse } from "smol-toml";
import { DEFAULT_CONTROL_SOCKET } from "../config.ts";
import { expandEnvironment, type Variables } from "../environment.ts";
import { isTable } from "../problems.ts";

/** The folder for the socket of a worker whose configuration is below /etc, which is no place for sockets. */
const RUNTIME_FOLDER = "/run/fervo-worker";

/**
 * The path of the control socket; undefined without one.
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
 * The same for a file that may be invalid: a running worker must be reachable while somebody edits its configuration.
 * Unreadable values count as missing.
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
