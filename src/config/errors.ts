import { FervoError } from "../core/errors.ts";

/** The configuration cannot be used. Code CONFIG_INVALID; the text has one line for each problem. */
export class ConfigError extends FervoError {}
