import { type FailureKind, SqlFailure } from "./failure.ts";

const KINDS: Readonly<Record<string, FailureKind>> = {
  "40001": "again",
  "40P01": "again",
  "55P03": "again",
  "25006": "read_only",
  "23505": "duplicate",
  "42P01": "schema",
  "42703": "schema",
  "42804": "schema",
  "42501": "denied",
  "28000": "denied",
  "28P01": "denied",
  "3D000": "denied",
};

/** An error of the library or of the system, as a failure. */
export function postgresFailure(error: unknown): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const code = codeOf(error);
  const isOfServer = error instanceof Error && error.name === "PostgresError";
  const kind = !isOfServer ? "lost" : KINDS[code ?? ""] ??
    (/^57P/.test(code ?? "") ? "lost" : /^2[23]/.test(code ?? "") ? "refused" : "other");
  return new SqlFailure(kind, { cause: error, code });
}

function codeOf(error: unknown): string | undefined {
  const code = error instanceof Error ? (error as { code?: unknown }).code : undefined;
  return typeof code === "string" ? code : undefined;
}
