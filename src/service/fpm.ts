import { type FpmPool, type FpmService, plain, type ServiceFile } from "./service.ts";

/** The configuration of a php-fpm master for jobs alone. */
export function fpmFile(service: FpmService): ServiceFile {
  const { program, configFile, controlS } = service;
  return {
    path: configFile,
    text: `; php-fpm for fervo-worker: a master of its own, ${plain(configFile)}
; Start it with: ${plain(program)} --nodaemonize --force-stderr --fpm-config ${plain(configFile)}
; A master that also serves the web would serve no request while a reload waits for the last running job.

[global]
; --force-stderr sends the log to standard error instead. Under systemd that is a socket, which has no path to be named here.
error_log = /dev/null
; A reload or a stop lets jobs finish for this long; the default of 0 kills them.
process_control_timeout = ${controlS}s
; PHP's messages of a job are cut to this many bytes.
log_limit = 8192
${service.pools.map((pool) => poolSection(pool, service.user)).join("")}`,
  };
}

function poolSection(pool: FpmPool, user: string): string {
  const { name, listen, isSocket, children, statusPath, statusListen, pingPath, terminateS } = pool;
  return `
[${plain(name)}]
user = ${plain(user)}
group = ${plain(user)}

; Only the worker's user may connect: any client that connects can run any PHP script as this pool's user.
listen = ${plain(listen)}
${
    isSocket
      ? `listen.owner = ${plain(user)}
listen.group = ${plain(user)}
listen.mode = 0660`
      : `; Who may connect to the port: on a network of your own, the workers' addresses.
listen.allowed_clients = 127.0.0.1`
  }

; As many as jobs run at once, "concurrency" of all consumers together: a job beyond that would wait where it can neither
; be timed nor taken back.
pm = static
pm.max_children = ${children}
; Against leaks: after this many jobs, a new child replaces the old one. No job is lost.
pm.max_requests = 1000
pm.status_path = ${plain(statusPath)}
${
    statusListen === undefined
      ? ""
      : `; Answers also when all children are busy.\npm.status_listen = ${plain(statusListen)}\n`
  }${pingPath === undefined ? "" : `ping.path = ${plain(pingPath)}\n`}
; The last resort for a job that hangs; later than timeout_ms of the worker, which tells more.
request_terminate_timeout = ${terminateS}s

; An error that is shown instead of logged makes a fatal error look like a success.
php_admin_flag[display_errors] = off
php_admin_flag[log_errors] = on
; A job without a limit can take the machine's memory, and other jobs with it.
php_admin_value[memory_limit] = 256M
; Faster, and one version of the code at a time; then each deployment has to reload this php-fpm.
;php_admin_flag[opcache.validate_timestamps] = off
`;
}
