import type { ErrorCode } from "./errors.ts";

/**
 * How much a finding matters. `ok`: in order. `notice`: worth knowing, or unknown. `warning`: it will lose, repeat or delay
 * jobs some day. `error`: jobs cannot run, or others can run code.
 */
export const SEVERITIES = ["ok", "notice", "warning", "error"] as const;
export type Severity = typeof SEVERITIES[number];

/** The documentation of a finding, as plain sentences in Markdown: docs/reference/findings.md is made of them. */
export interface FindingText {
  /** What `check` examines, and what is in order. */
  readonly looksAt: string;
  /** The option that is needed to examine it. */
  readonly needs?: "--fpm-config" | "--call-script";
}

/**
 * The findings of `check`, by stable ids; brokers add their own (`findings` of their types). They appear in `check --json` and
 * docs/reference/findings.md, in this order; an id is never renamed or reused.
 */
const KINDS = {
  "config.valid": {
    looksAt:
      "The configuration can be used. Of a configuration that cannot be used, `check` prints every problem instead of findings.",
  },
  "config.writable": {
    looksAt:
      "No other user can change the configuration, and with it which script the worker runs. If one can, it is an error.",
  },
  "secrets.readable": {
    looksAt:
      "No other user can read a configuration that holds secrets, the `token_file` or a `password_file`.",
  },
  "broker.reachable": { looksAt: "The broker answers; the file of the embedded queue can be opened." },
  "queue.unconsumed": {
    looksAt:
      "A consumer takes the jobs of every queue that has jobs. The fix names the queue that may be meant. A failure transport of " +
      "Symfony Messenger has no consumer: with `--call-script` it is left out.",
  },
  "queue.paused": { looksAt: "No queue of a consumer is paused." },
  "queue.dead": { looksAt: "No queue has dead letters." },
  "schedule.queue": { looksAt: "A consumer takes jobs from the queue into which a schedule pushes." },
  "schedule.claimed_ahead": {
    looksAt:
      "No worker has claimed times of a schedule that are still to come. If one has, its clock was ahead, or this machine's is behind.",
  },
  "fpm.reachable": { looksAt: "The pool accepts connections and answers." },
  "fpm.status_page": { looksAt: "The pool has a status page, and `status_path` names it." },
  "fpm.status_listen": {
    looksAt:
      "The status page answers also while all children are busy: `pm.status_listen` of the pool and `status_address` are the same.",
  },
  "fpm.ping": { looksAt: "The pool answers at `ping_path`." },
  "fpm.children": {
    looksAt: "The pool has at least as many PHP processes as its consumers run jobs at the same time.",
  },
  "fpm.shared_pool": {
    looksAt:
      "The latest request of each child was a job. Another script, such as the web application's, means that others use the pool.",
  },
  "fpm.shared_master": {
    looksAt:
      "The php-fpm master has no other pools. A reload stops all of them until the last job has ended.",
    needs: "--fpm-config",
  },
  "fpm.socket_mode": {
    looksAt: "Other users of the machine cannot connect to the pool's socket, and so run any PHP script.",
  },
  "fpm.tcp": {
    looksAt:
      "Who can connect to the pool's TCP port. A port that other machines can reach, without `listen.allowed_clients`, is an error. " +
      "Without `--fpm-config` who can connect is not known.",
  },
  "fpm.script": { looksAt: "The script is a file on this machine. With `--call-script`: it answers." },
  "fpm.limit_extensions": {
    looksAt: "`security.limit_extensions` of the pool has the ending of the script.",
    needs: "--fpm-config",
  },
  "fpm.open_basedir": {
    looksAt: "`open_basedir` of the pool lets PHP open the script.",
    needs: "--fpm-config",
  },
  "fpm.kill_on_timeout": {
    looksAt: "With `kill_on_timeout`: this user may end the PHP processes of the pool.",
    needs: "--fpm-config",
  },
  "fpm.settings": {
    looksAt: "php-fpm's own settings are known, so that the findings that need them can be judged.",
    needs: "--fpm-config",
  },
  "fpm.process_control_timeout": {
    looksAt:
      "A reload of php-fpm lets running jobs finish: `process_control_timeout` is not below `timeout_ms`.",
    needs: "--fpm-config",
  },
  "fpm.request_terminate_timeout": {
    looksAt:
      "php-fpm ends jobs that hang, and no others: `request_terminate_timeout` is above `timeout_ms`, or `kill_on_timeout` is on.",
    needs: "--fpm-config",
  },
  "php.settings": {
    looksAt: "PHP's own settings are known, so that the findings below can be judged.",
    needs: "--call-script",
  },
  "php.display_errors": {
    looksAt: 'Off. With `ack_on = "status"` a fatal error counts as success otherwise, which is an error.',
    needs: "--call-script",
  },
  "php.log_errors": {
    looksAt: "On. Otherwise dead letters do not say why PHP failed.",
    needs: "--call-script",
  },
  "php.error_log": {
    looksAt: "Not set. A file takes PHP's errors away from the dead letters and from the worker's log.",
    needs: "--call-script",
  },
  "php.fastcgi_logging": {
    looksAt: "On. Otherwise PHP's errors do not reach the worker.",
    needs: "--call-script",
  },
  "php.memory_limit": {
    looksAt: "There is a limit. Without one, a job can take all memory of the machine.",
    needs: "--call-script",
  },
  "php.max_execution_time": { looksAt: "0, or not below `timeout_ms`.", needs: "--call-script" },
  "php.opcache": {
    looksAt: "On. Otherwise every job compiles all of its code.",
    needs: "--call-script",
  },
  "php.opcache_timestamps": {
    looksAt:
      "`opcache.validate_timestamps` is off. Otherwise jobs see old and new files together during a deployment.",
    needs: "--call-script",
  },
  "php.command_line": {
    looksAt:
      "For Symfony Messenger: PHP has the same settings and extensions in the pool as on the command line, where messenger:consume ran " +
      "the messages. It compares those settings that handlers can notice.",
    needs: "--call-script",
  },
  "messenger.transport": {
    looksAt:
      "Each queue of a broker for Symfony Messenger is a transport of the application, with the same table, `queue_name` and " +
      "`redeliver_timeout`, which is not shorter than `lease_ms`.",
    needs: "--call-script",
  },
  "messenger.failure_transport": {
    looksAt:
      "No consumer takes messages from a failure transport of the application, where messages wait that have failed for good.",
    needs: "--call-script",
  },
  "messenger.shared_transport": {
    looksAt:
      "Two brokers of the configuration that take the same messages have the same `redeliver_timeout_ms` and `lease_ms`.",
  },
  "messenger.lock_store": {
    looksAt: "All machines share the lock store of the application, if it has one (`framework.lock`).",
    needs: "--call-script",
  },
  "messenger.files": {
    looksAt:
      "The user of the pool can read the application's variables and secrets (`.env.local`, `config/secrets`), and write its cache.",
    needs: "--call-script",
  },
  "process.program": { looksAt: "The program of `[processes.NAME]` exists and can be run." },
  "process.directory": { looksAt: "The folder of `[processes.NAME]` exists." },
  "http.listen": { looksAt: "The address of `[http]` is free, or the worker that runs serves it." },
  "http.token": { looksAt: "`token_file` can be read and holds a token." },
  "control.socket": {
    looksAt: "The worker that runs takes commands at the control socket; or a worker that starts can.",
  },
  "tracing.endpoint": { looksAt: "The collector of traces takes an export, of no spans." },
  "worker.open_files": {
    looksAt: "A process that is started as this one was may open as many files as the worker needs.",
  },
  "worker.stuck_jobs": {
    looksAt:
      "No jobs are stuck in the worker that runs. [Stuck jobs](../monitoring.md#stuck-jobs) says what that means.",
  },
  "worker.user": {
    looksAt: "`check` ran as the worker's user. As root it sees no missing rights: use `--user NAME`.",
  },
} as const satisfies Readonly<Record<string, FindingText>>;

type OwnFindingId = keyof typeof KINDS;

/** What each of these findings is about, in the order of the documentation. */
export const FINDING_TEXTS: Readonly<Record<OwnFindingId, FindingText>> = KINDS;
export type FindingId = OwnFindingId | BrokerFindingId;
/** The object, a point, and its property. */
export type BrokerFindingId = `${string}.${string}`;

/** One thing that `check` examined. */
export interface Finding {
  readonly id: FindingId;
  readonly severity: Severity;
  /** The observation: a sentence without a full stop. */
  readonly what: string;
  /** Why it matters: what happens to jobs. */
  readonly why?: string;
  /** What to change: the line itself, and where it belongs. */
  readonly fix?: string;
  /** The output of a program about it, in lines. It may contain anything. */
  readonly details?: string;
  /** The code of an error. */
  readonly code?: ErrorCode;
}
