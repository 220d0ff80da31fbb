import { dirname } from "node:path";
import { fpmName, type FpmService, plain, type ServiceFile, type WorkerService } from "./service.ts";

const FOLDER = "/etc/systemd/system";

/** The worker as a systemd service, with minimal rights. */
export function systemdFile(service: WorkerService): ServiceFile {
  const { program, configFile, controlFolder, user, stopS, openFiles } = service;
  // Missing units are no obstacle; the worker waits for late ones.
  const after = ["network-online.target", fpmUnit(service), ...service.brokerUnits];
  const path = `${FOLDER}/${plain(service.name)}.service`;
  return {
    path,
    text: `# fervo-worker under systemd: ${path}

[Unit]
Description=Background jobs on PHP-FPM
# And so it is stopped before them.
After=${after.join(" ")}
Wants=network-online.target
# It waits for brokers and php-fpm by itself; after a crash it is started again and again.
StartLimitIntervalSec=0

[Service]
# It reports when it runs, and sends heartbeats as long as every consumer makes progress; else systemd restarts it.
Type=notify
WatchdogSec=60
ExecStart=${plain(program)} run --config ${plain(configFile)}
${
      controlFolder === undefined
        ? "ExecReload=/bin/kill -HUP $MAINPID"
        : `# Fails, and changes nothing, when the configuration has mistakes.\nExecReload=${
          plain(program)
        } reload --wait --config ${plain(configFile)}`
    }
User=${plain(user)}
# Passwords for the configuration's \${NAME}, as lines NAME=value; readable for root only.
EnvironmentFile=-/etc/fervo-worker/environment
Restart=always
RestartSec=1
# 2 and 3: the command line or the configuration file cannot be used until a person corrects it. The worker waits for everything else.
RestartPreventExitStatus=2 3
# SIGTERM goes to the worker alone. Running jobs may finish: shutdown_timeout_ms, and some seconds to put back the others.
KillMode=mixed
TimeoutStopSec=${stopS}
LimitNOFILE=${Math.max(openFiles * 2, 4_096)}
# When the kernel ends one process for its memory, the others go on.
OOMPolicy=continue
# file_mode of the configuration decides, for others nothing.
UMask=0007
${writable(service)}
${service.runsProcesses ? HARDENING_WITH_JOBS : hardening(service)}
[Install]
WantedBy=multi-user.target
`,
  };
}

/** The unit of php-fpm. Debian names units by version, like programs: php-fpm8.4 is of php8.4-fpm.service. */
function fpmUnit({ name, hasOwnFpm, fpmProgram }: WorkerService): string {
  if (hasOwnFpm) return `${fpmName(name)}.service`;
  const version = /\/php-fpm(\d+\.\d+)$/.exec(fpmProgram ?? "")?.[1] ?? "";
  return `php${version}-fpm.service`;
}

/** The worker's writable folders: systemd creates those below /var/lib, and the control socket's below /run, itself. */
function writable({ folders, controlFolder }: WorkerService): string {
  const all = [...new Set([...folders, ...(controlFolder === undefined ? [] : [controlFolder])])];
  const own = all.filter((folder) => folder.startsWith("/var/lib/"));
  const runtime = all.filter((folder) => folder.startsWith("/run/") && folder === controlFolder);
  const others = all.filter((folder) => !own.includes(folder) && !runtime.includes(folder));
  return [
    ...(runtime.length === 0 ? [] : [
      `RuntimeDirectory=${runtime.map((folder) => plain(folder.slice("/run/".length))).join(" ")}`,
      "# Other workers may have their sockets there.",
      "RuntimeDirectoryPreserve=yes",
    ]),
    ...(own.length === 0
      ? []
      : [`StateDirectory=${own.map((folder) => plain(folder.slice("/var/lib/".length))).join(" ")}`]),
    ...(others.length === 0 ? [] : [`ReadWritePaths=${others.map(plain).join(" ")}`]),
    "",
  ].join("\n");
}

/** Jobs that are processes live under the service's own limits. */
const HARDENING_WITH_JOBS =
  `# Jobs of this configuration are processes of this service, and what is forbidden here is
# forbidden to them: tighten it as far as your jobs allow.
ProtectSystem=full
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectControlGroups=yes
ProtectClock=yes
ProtectHostname=yes
RestrictRealtime=yes
`;

function hardening({ configFile, folders, controlFolder, socketFolders }: WorkerService): string {
  const used = [
    configFile,
    ...folders,
    ...socketFolders,
    ...(controlFolder === undefined ? [] : [controlFolder]),
  ];
  const isIn = (...places: string[]) =>
    used.some((path) => places.some((place) => `${path}/`.startsWith(place)));
  return `# No rights that it does not need.
NoNewPrivileges=yes
CapabilityBoundingSet=
AmbientCapabilities=
ProtectSystem=strict
ProtectHome=${isIn("/home/", "/root/", "/run/user/") ? "read-only" : "yes"}
PrivateTmp=${isIn("/tmp/", "/var/tmp/") ? "no" : "yes"}
PrivateDevices=yes
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
# kill_on_timeout looks at php-fpm's processes, which run as the same user.
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
# Not MemoryDenyWriteExecute=yes: the runtime compiles its code while it runs.
MemoryDenyWriteExecute=no
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged @resources
# The runtime asks for some calls only to see whether it may.
SystemCallErrorNumber=EPERM
`;
}

/** A php-fpm master for jobs as a service of systemd. */
export function systemdFpmFile({ name, program, configFile, controlS, pools }: FpmService): ServiceFile {
  const path = `${FOLDER}/${plain(fpmName(name))}.service`;
  const sockets = pools.flatMap(({ isSocket, listen }) => isSocket ? [dirname(listen)] : []);
  // Debian's packages create /run/php, and other masters share it.
  const folders = [...new Set(sockets)].filter((folder) =>
    folder.startsWith("/run/") && folder !== "/run/php"
  );
  const runtime = folders.map((folder) => plain(folder.slice("/run/".length))).join(" ");
  return {
    path,
    text: `# php-fpm for fervo-worker under systemd: ${path}

[Unit]
Description=PHP-FPM for background jobs
After=network.target

[Service]
Type=notify
ExecStart=${plain(program)} --nodaemonize --force-stderr --fpm-config ${plain(configFile)}
ExecReload=/bin/kill -USR2 $MAINPID
${
      runtime === ""
        ? ""
        : `RuntimeDirectory=${runtime}\n`
    }# QUIT lets running jobs finish, for process_control_timeout at most; TERM would kill them.
KillMode=mixed
KillSignal=SIGQUIT
TimeoutStopSec=${controlS + 10}
Restart=always
RestartSec=1
# The default stops all of php-fpm when the kernel ends one child for its memory.
OOMPolicy=continue

[Install]
WantedBy=multi-user.target
`,
  };
}
