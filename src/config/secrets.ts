import { parse } from "smol-toml";
import { isTable, type Path } from "./problems.ts";

/** Names of keys, of the configuration and of params, variables and headers that users choose. */
const SECRET_NAME = /pass(?:word|wd|phrase)?|secret|token|credential|authori[sz]ation|api.?key|private.?key/i;
/** The name of a file that has it. */
const FILE_NAME = /_file$/i;
/** An address with a password. */
const PASSWORD_IN_ADDRESS = /^[a-z][a-z0-9+.-]*:\/\/[^\s/@]*:[^\s/@]+@/i;
/** A value from the environment is not in the file. */
const VARIABLE = /\$\{[A-Za-z_][A-Za-z0-9_]*\}/g;

/**
 * The keys whose values look like secrets in the file itself, e.g. `brokers.default.password`; for people.
 *
 * @param text A valid configuration.
 */
export function writtenSecrets(text: string): string[] {
  const found: string[] = [];

  function look(value: unknown, path: Path): void {
    if (Array.isArray(value)) value.forEach((element, index) => look(element, [...path, index]));
    else if (isTable(value)) {
      for (const [key, inner] of Object.entries(value)) {
        look(inner, [...path, key]);
      }
    } else if (typeof value === "string" && isSecret(value, path)) found.push(path.join("."));
  }

  look(parse(text), []);
  return found;
}

function isSecret(value: string, path: Path): boolean {
  const written = value.replaceAll(VARIABLE, "");
  if (PASSWORD_IN_ADDRESS.test(written)) return true;
  const name = String(path.findLast((step) => typeof step === "string"));
  return written !== "" && SECRET_NAME.test(name) && !FILE_NAME.test(name);
}
