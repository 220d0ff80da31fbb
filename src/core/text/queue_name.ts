/** Names of queues, in the configuration and on the command line. */
export const QUEUE_NAME_RULE = "1 to 128 characters of A-Z a-z 0-9 . _ : -";

export function isQueueName(text: string): boolean {
  return /^[A-Za-z0-9._:-]{1,128}$/.test(text);
}
