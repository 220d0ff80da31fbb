import { visibleBesideC0 } from "../core/text/visible.ts";

export type LogLevel = "debug" | "info" | "warn" | "error";

export interface LogOptions {
  readonly level: LogLevel;
  /** Lines for a person instead of JSON. */
  readonly isPretty: boolean;
  /** Pretty lines have colours. */
  readonly hasColors?: boolean;
}

/** A log with a changeable level. */
export interface LeveledLog extends Log {
  level: LogLevel;
}

/** Writes log lines: a message, and facts by name. */
export interface Log {
  debug(facts: Record<string, unknown>, message: string): void;
  info(facts: Record<string, unknown>, message: string): void;
  warn(facts: Record<string, unknown>, message: string): void;
  error(facts: Record<string, unknown>, message: string): void;
}

/**
 * A log that writes whole lines with `write`.
 *
 * JSON lines: `{"level":"warn","time":"2026-01-31T12:00:00.000Z","msg":"…", …facts}`.
 */
export async function createLog(
  write: (text: string) => void,
  { level, isPretty, hasColors = false }: LogOptions,
): Promise<LeveledLog> {
  // Loaded here, because it reads the machine's name at once: importers that only make log lines need no such permission.
  const { pino } = await import("./pino.ts");
  const format = isPretty ? await loadPretty(hasColors) : (line: string) => line;
  const log = pino({
    level,
    base: null,
    timestamp: pino.stdTimeFunctions.isoTime,
    formatters: { level: (label) => ({ level: label }) },
  }, { write: (line: string) => write(visibleBesideC0(format(line))) });
  return log as LeveledLog;
}

/** Only a terminal needs it. */
async function loadPretty(hasColors: boolean): Promise<(line: string) => string> {
  const { prettyFactory } = await import("./pretty.ts");
  return prettyFactory({
    colorize: hasColors,
    translateTime: "HH:MM:ss.l",
    singleLine: true,
    errorLikeObjectKeys: [],
  });
}
