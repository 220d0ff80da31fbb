import { type FailureKind, SqlFailure } from "./failure.ts";

const KINDS: Readonly<Record<number, FailureKind>> = {
  1205: "again",
  1213: "again",
  1290: "read_only",
  1836: "read_only",
  1062: "duplicate",
  1146: "schema",
  1054: "schema",
  1366: "refused",
  1044: "denied",
  1045: "denied",
  1142: "denied",
  1143: "denied",
  1227: "denied",
  1048: "refused",
  1406: "refused",
  3819: "refused",
  4025: "refused",
  1153: "refused",
  1301: "refused",
};

/** An error of the library or of the system, as a failure. */
export function mysqlFailure(error: unknown): SqlFailure {
  if (error instanceof SqlFailure) return error;
  const { code, errno, sqlState } = (error ?? {}) as { code?: unknown; errno?: unknown; sqlState?: unknown };
  const isOfServer = typeof errno === "number" && typeof sqlState === "string";
  const kind = isOfServer ? KINDS[errno] ?? "other" : "lost";
  return new SqlFailure(kind, { cause: error, code: typeof code === "string" ? code : undefined });
}
