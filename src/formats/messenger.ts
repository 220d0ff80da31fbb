import type { Format } from "../core/format.ts";

/**
 * A message of Symfony Messenger. Only PHP reads it: the payload is the whole body, and PHP gets all headers. It counts attempts,
 * decides on retries and keeps failed messages itself.
 */
export const messenger: Format = {
  name: "messenger",
  framework: { isToldFailures: true },
  read: ({ body }) => ({ payload: body }),
};
