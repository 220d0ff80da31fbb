import { RESERVED_PARAMS } from "../../executors/fastcgi/requests.ts";

/** Why a reserved param is refused, and what to do instead, if the reason is not that the worker sets it. */
const REASONS: Readonly<Record<string, string>> = {
  PHP_VALUE: "it would change PHP's settings for every later request of the same child; " +
    "set php_value[…] in php-fpm's pool file",
  PHP_ADMIN_VALUE: "it would change PHP's settings for every later request of the same child; " +
    "set php_admin_value[…] in php-fpm's pool file",
  REQUEST_BODY_FILE: "php-fpm would read that file instead of the job's payload; remove the param",
  HTTP_PROXY: "HTTP clients in PHP would use it as their proxy; if you want that, " +
    "set env[http_proxy] in php-fpm's pool file",
  SCRIPT_FILENAME: "the script comes from the key script of the fpm table; set that key",
};

/**
 * Why a param's name is invalid in the configuration, and what to do; undefined when it is valid.
 *
 * Compared in capitals, so that any spelling of a refused name gets its reason.
 */
export function whyParamIsRefused(name: string): string | undefined {
  const upper = name.toUpperCase();
  if (upper.startsWith("FERVO_")) {
    return "the worker reserves names that begin with FERVO_; choose another name";
  }
  if (RESERVED_PARAMS.includes(upper)) {
    return REASONS[upper] ?? "the worker sets it for every request; remove it";
  }
  if (/^[A-Z][A-Z0-9_]*$/.test(name)) return undefined;
  return "expected capital letters, digits and _, beginning with a letter, such as APP_ENV";
}
