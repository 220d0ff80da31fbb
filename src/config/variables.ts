/**
 * Why a name of an environment variable is invalid in the configuration, and what to do; undefined when it is valid.
 *
 * Some are compared in capitals, so that any spelling of a refused name gets its reason.
 */
export function whyVariableIsRefused(name: string): string | undefined {
  const upper = name.toUpperCase();
  if (upper.startsWith("FERVO_")) {
    return "the worker reserves names that begin with FERVO_; choose another name";
  }
  if (upper === "TRACEPARENT" || upper === "TRACESTATE") {
    return "the worker sets it for each job that has one; remove it";
  }
  if (upper.startsWith("LD_")) {
    return "it would load other code into the program; if you want that, set it in a script that the command runs";
  }
  if (/^[A-Za-z_][A-Za-z0-9_]*$/.test(name)) return undefined;
  return "expected letters, digits and _, not beginning with a digit, such as APP_ENV";
}
