import { FervoError } from "../core/errors.ts";

/** The configuration cannot be used. Code CONFIG_INVALID; the text lists every problem, one a line. */
export class ConfigError extends FervoError {}
