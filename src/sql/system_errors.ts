import { reasonOf } from "../core/errors.ts";
import { SqlFailure } from "./failure.ts";

/** Errors of sockets by the system's code; the system's own words would repeat them. */
const REASONS: Readonly<Record<string, string>> = {
  ECONNREFUSED: "connection refused; is the server running there?",
  ENOENT: "no such socket; is the server running, with this socket?",
  EACCES: "permission denied; this user must be allowed to read and write the socket",
  ECONNRESET: "the connection was reset",
  EPIPE: "the connection was closed",
  ETIMEDOUT: "no answer",
  EHOSTUNREACH: "no route to the host",
  ENETUNREACH: "no route to the host",
  ENOTFOUND: "no such host",
  EAI_AGAIN: "the name of the host cannot be resolved now",
};

/** What an operator can do about a certificate, by the codes of Node.js and the words of the compiled program's library. */
const CERTIFICATE_ADVICE: readonly (readonly [RegExp, string])[] = [
  [
    /SELF_SIGNED|UNABLE_TO_(?:GET|VERIFY)|SIGNATURE_FAILURE|UnknownIssuer|CaUsedAsEndEntity|BadSignature/,
    "its certificate cannot be verified: set ca_file to the authority that signed it",
  ],
  [
    /ALTNAME_INVALID|not valid for name|NotValidForName/,
    "its certificate is for another host: use a host that the certificate names",
  ],
  [
    /CERT_HAS_EXPIRED|CERT_NOT_YET_VALID|expired|not valid yet|NotValidYet/i,
    "its certificate has expired, or a clock is wrong",
  ],
  [
    /CertificateRequired|CERTIFICATE_REQUIRED/i,
    "it requires a client certificate: set cert_file and key_file",
  ],
  [
    /\bCERT_|ERR_SSL|ERR_TLS|peer certificate|fatal alert|InvalidContentType/,
    "no TLS connection could be made",
  ],
];

/** A failure of the connection: by the system, by TLS, by a time limit, or because the other side has closed it. */
export function connectionFailure(error: unknown): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const code = codeOf(error);
  const reason = REASONS[code ?? ""];
  if (reason !== undefined) {
    return new SqlFailure("lost", { cause: new Error(reason, { cause: error }), code });
  }
  const words = `${code} ${reasonOf(error)}`;
  if (/failed to lookup address/.test(words)) {
    return new SqlFailure("lost", { cause: new Error(REASONS["ENOTFOUND"]!, { cause: error }), code });
  }
  const advice = CERTIFICATE_ADVICE.find(([pattern]) => pattern.test(words))?.[1];
  return new SqlFailure("lost", { cause: error, code, advice });
}

/** The code of an error of Node.js or of a library. */
export function codeOf(error: unknown): string | undefined {
  const { code } = (error ?? {}) as { code?: unknown };
  return typeof code === "string" ? code : undefined;
}
