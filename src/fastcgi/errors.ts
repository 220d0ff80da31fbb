import { FervoError } from "../core/errors.ts";

/** A FastCGI request could not be carried out. Codes FASTCGI_*. */
export class FastCgiError extends FervoError {}
