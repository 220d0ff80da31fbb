import { JobError, QueueError } from "../../core/errors.ts";
import type { Message } from "../../core/format.ts";
import type { BeanstalkdConnection } from "./connection.ts";
import { secondsOf } from "./mapping.ts";

/**
 * Puts the message that is to take a job's place, with that job's priority and time to run.
 *
 * @throws {JobError} JOB_MALFORMED when it is longer than beanstalkd takes
 * @throws {QueueError} QUEUE_UNAVAILABLE
 */
export async function putSuccessor(
  connection: BeanstalkdConnection,
  { id, queue, pri, ttrMs }: {
    readonly id: string;
    readonly queue: string;
    readonly pri: number;
    readonly ttrMs: number;
  },
  { body }: Message,
  delayMs: number,
): Promise<void> {
  connection.use(queue);
  const put = `put ${pri} ${secondsOf(delayMs)} ${secondsOf(ttrMs)} ${body.length}`;
  const { word, args } = await connection.send(put, ["INSERTED", "BURIED", "JOB_TOO_BIG"], { body });
  if (word === "INSERTED") return;
  if (word === "JOB_TOO_BIG") {
    throw new JobError(
      "JOB_MALFORMED",
      `The message that is to take the place of job "${id}" has ${body.length} bytes, more than beanstalkd takes: start it with a ` +
        "larger -z",
      { details: { bytes: body.length } },
    );
  }
  // It has stored the message all the same.
  await connection.send(`delete ${args[0]}`, ["DELETED", "NOT_FOUND"]);
  throw new QueueError("QUEUE_UNAVAILABLE", `Cannot replace job "${id}": beanstalkd is out of memory`);
}
