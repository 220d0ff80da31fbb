/** The expected value of `endpoint`. */
export const TRACES_ENDPOINT =
  'expected the URL of an OTLP/HTTP collector, such as "http://127.0.0.1:4318/v1/traces", without user and password, or "" ' +
  "for none";

/** Whether it is a valid URL for traces; secrets belong into headers, because an address gets into logs. */
export function isTracesEndpoint(text: string): boolean {
  const url = URL.parse(text);
  return url !== null && /^https?:$/.test(url.protocol) && url.username === "" && url.password === "";
}

/** Headers that the worker sets itself. */
const OWN_HEADERS = ["content-type", "content-length", "host", "transfer-encoding", "connection"];

/** Why a header's name is invalid, as the end of a sentence; undefined when it is valid. */
export function whyHeaderIsRefused(name: string): string | undefined {
  if (!/^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$/.test(name)) return "it is not a valid name of an HTTP header";
  if (OWN_HEADERS.includes(name.toLowerCase())) return "the worker sets it itself; remove it";
  return undefined;
}
