import { JobError, QueueError } from "../../core/errors.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { secondsOf } from "./mapping.ts";

/** The place and options of a put. */
export interface Place {
  readonly tube: string;
  readonly pri: number;
  readonly delayMs: number;
  readonly ttrMs: number;
}

/**
 * Puts a job, if beanstalkd accepts it: without an `id`, `word` is the reason, BURIED for no memory.
 *
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function tryPut(
  connection: BeanstalkdConnection,
  { tube, pri, delayMs, ttrMs }: Place,
  body: Uint8Array,
): Promise<{ readonly word: string; readonly id?: string }> {
  connection.use(tube);
  const put = `put ${pri} ${secondsOf(delayMs)} ${secondsOf(ttrMs)} ${body.length}`;
  const { word, args } = await connection.send(put, ["INSERTED", "BURIED", "JOB_TOO_BIG"], { body });
  if (word === "INSERTED") return { word, id: args[0]! };
  // beanstalkd has stored the job all the same.
  if (word === "BURIED") await deleteJob(connection, args[0]!);
  return { word };
}

/**
 * Puts a job. Returns its id.
 *
 * @param texts.message The message, as the beginning of a sentence; `failure` says what failed.
 * @throws {JobError} JOB_MALFORMED when it is too long for beanstalkd
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function put(
  connection: BeanstalkdConnection,
  place: Place,
  body: Uint8Array,
  texts: { readonly message: string; readonly failure: string },
): Promise<string> {
  const { word, id } = await tryPut(connection, place, body);
  if (id !== undefined) return id;
  if (word === "JOB_TOO_BIG") {
    throw new JobError(
      "JOB_MALFORMED",
      `${texts.message} has ${body.length} bytes, more than beanstalkd accepts; start it with a larger -z`,
      { details: { bytes: body.length } },
    );
  }
  throw new QueueError("QUEUE_UNAVAILABLE", `${texts.failure}: beanstalkd is out of memory`);
}

/** False when the job is gone, or another connection has reserved it. */
export async function deleteJob(connection: BeanstalkdConnection, id: string): Promise<boolean> {
  const { word } = await connection.send(`delete ${id}`, ["DELETED", "NOT_FOUND"]);
  return word === "DELETED";
}
