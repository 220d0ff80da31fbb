/**
 * The names of the keys: Sidekiq's own (https://github.com/sidekiq/sidekiq/wiki/Job-Lifecycle) and, with `fervo:`, ours.
 *
 * | key                            | type   | content                                                               |
 * |--------------------------------|--------|-----------------------------------------------------------------------|
 * | `queue:NAME`                   | list   | jobs; pushed at its left end, taken from its right                    |
 * | `queues`                       | set    | names of queues                                                       |
 * | `schedule`, `retry`            | zset   | jobs by the time at which they are due, seconds                       |
 * | `dead`                         | zset   | jobs by the time of their death, seconds                              |
 * | `paused`                       | set    | names of queues that no jobs are taken from                           |
 * | `processes`                    | set    | identities, for the Web UI                                            |
 * | `IDENTITY`                     | hash   | one process; it lives as long as the process sends heartbeats         |
 * | `IDENTITY:work`                | hash   | what it runs, for the Web UI                                          |
 * | `IDENTITY-signals`             | list   | what the Web UI tells it                                              |
 * | `fervo:processes`              | set    | identities that may hold jobs                                         |
 * | `fervo:queues:IDENTITY`        | set    | the queues from which it takes them                                   |
 * | `fervo:inflight:IDENTITY:NAME` | list   | the jobs that it holds, the newest at its left end                    |
 * | `fervo:suspects`               | hash   | identities without a heartbeat, and since when, epoch milliseconds    |
 * | `fervo:schedule`               | hash   | schedules, and when each is claimed: `FROM-TO,FROM-TO RULE`           |
 * | `fervo:paused`                 | hash   | paused queues that have a reason or an end: `{"until", "reason"}`     |
 * | `fervo:recovery`               | string | who looks for the dead now                                            |
 */
export class RedisKeys {
  readonly prefix: string;
  readonly queues: string;
  readonly schedule: string;
  readonly retry: string;
  readonly dead: string;
  readonly paused: string;
  readonly pauseNotes: string;
  readonly schedules: string;
  readonly processes: string;
  readonly owners: string;
  readonly suspects: string;
  readonly recovery: string;

  /** @param prefix Before every name, as with redis-namespace. */
  constructor(prefix: string) {
    this.prefix = prefix;
    this.queues = `${prefix}queues`;
    this.schedule = `${prefix}schedule`;
    this.retry = `${prefix}retry`;
    this.dead = `${prefix}dead`;
    this.paused = `${prefix}paused`;
    this.pauseNotes = `${prefix}fervo:paused`;
    this.schedules = `${prefix}fervo:schedule`;
    this.processes = `${prefix}processes`;
    this.owners = `${prefix}fervo:processes`;
    this.suspects = `${prefix}fervo:suspects`;
    this.recovery = `${prefix}fervo:recovery`;
  }

  queue(name: string): string {
    return `${this.prefix}queue:${name}`;
  }

  process(identity: string): string {
    return `${this.prefix}${identity}`;
  }

  queuesOf(identity: string): string {
    return `${this.prefix}fervo:queues:${identity}`;
  }

  inflight(identity: string, queue: string): string {
    return `${this.prefix}fervo:inflight:${identity}:${queue}`;
  }

  stat(name: "processed" | "failed", day?: string): string {
    return `${this.prefix}stat:${name}${day === undefined ? "" : `:${day}`}`;
  }

  /** The required type of a key. */
  typeOf(key: string): "list" | "set" | "zset" | "hash" | "string" {
    const name = key.slice(this.prefix.length);
    if (/^(?:queue:|fervo:inflight:)/.test(name) || name.endsWith("-signals")) return "list";
    if (/^(?:queues|paused|processes|fervo:processes|fervo:queues:.*)$/s.test(name)) return "set";
    if (/^(?:schedule|retry|dead)$/.test(name)) return "zset";
    return /^(?:stat:|fervo:recovery$)/.test(name) ? "string" : "hash";
  }
}
