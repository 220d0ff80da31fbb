import { fpmName, type FpmService, plain, type ServiceFile, type WorkerService } from "./service.ts";

/** How many files supervisord's programs may open, without its option `minfds`. */
const DEFAULT_MINFDS = 1_024;

const FOLDER = "/etc/supervisor/conf.d";

/** The worker as a program of supervisord. */
export function supervisorFile(service: WorkerService): ServiceFile {
  const { program, configFile, user, stopS, openFiles, hasOwnFpm } = service;
  const name = plain(service.name);
  const path = `${FOLDER}/${name}.conf`;
  return {
    path,
    text: `; fervo-worker under supervisord: ${path}
; Let it read its configuration again with: supervisorctl signal HUP ${name}
${
      openFiles > DEFAULT_MINFDS
        ? `; It needs more open files than supervisord allows: in [supervisord] set minfds = ${
          openFiles * 2
        }\n`
        : ""
    }
[program:${name}]
command = ${plain(program)} run --config ${plain(configFile)}
user = ${plain(user)}
; After php-fpm, and stopped before it.
priority = ${hasOwnFpm ? 910 : 900}
autostart = true
; Also after an exit without an error, because people can stop a worker through its broker. Not after 2 and 3: the command line or the
; configuration file cannot be used until a person corrects it. The worker waits for everything else.
autorestart = unexpected
exitcodes = 2,3
; A worker that ends sooner did not start: after some attempts it is FATAL.
startsecs = 2
startretries = 10
; Running jobs may finish: shutdown_timeout_ms of the configuration, and some seconds to put back the others.
stopsignal = TERM
stopwaitsecs = ${stopS}
; The log: one JSON object a line.
redirect_stderr = true
stdout_logfile = /var/log/supervisor/${name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 5
${runFolderProgram(service)}`,
  };
}

/** The equivalent of systemd's RuntimeDirectory=. A program that starts before it is started again. */
function runFolderProgram({ name, user, runFolders }: WorkerService): string {
  if (runFolders.length === 0) return "";
  return `
; /run is empty after each start of the machine.
[program:${plain(name)}-folders]
command = /usr/bin/install -d -o ${plain(user)} ${runFolders.map(plain).join(" ")}
priority = 890
autorestart = false
startsecs = 0
`;
}

/** A php-fpm master for jobs as a program of supervisord. */
export function supervisorFpmFile(service: FpmService): ServiceFile {
  const { program, configFile, controlS } = service;
  const name = plain(fpmName(service.name));
  const path = `${FOLDER}/${name}.conf`;
  return {
    path,
    text: `; php-fpm for fervo-worker under supervisord: ${path}
; Reload it with: supervisorctl signal USR2 ${name}

[program:${name}]
command = ${plain(program)} --nodaemonize --force-stderr --fpm-config ${plain(configFile)}
priority = 900
autostart = true
autorestart = true
; QUIT lets running jobs finish, for process_control_timeout at most; TERM would kill them.
stopsignal = QUIT
stopwaitsecs = ${controlS + 10}
redirect_stderr = true
stdout_logfile = /var/log/supervisor/${name}.log
stdout_logfile_maxbytes = 20MB
stdout_logfile_backups = 5
`,
  };
}
