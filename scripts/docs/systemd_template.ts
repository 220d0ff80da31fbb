/** The template unit of the Debian package: what `init --systemd` makes, for any configuration in /etc/fervo-worker. */
import { BROKER_TYPES } from "../../src/brokers/mod.ts";
import { systemdFile } from "../../src/service/systemd.ts";

/** Stands for the instance where a unit cannot have `%i` yet. */
const INSTANCE = "INSTANCE";

/** Debian names the units of php-fpm by its version. */
const FPM_UNITS = ["php8.2-fpm.service", "php8.4-fpm.service"];

export function systemdTemplate(): string {
  const { text } = systemdFile({
    name: "fervo-worker@",
    program: "/usr/bin/fervo-worker",
    configFile: `/etc/fervo-worker/${INSTANCE}.toml`,
    user: "www-data",
    folders: ["/var/lib/fervo-worker"],
    brokerUnits: [...new Set(BROKER_TYPES.flatMap(({ units }) => units))],
    controlFolder: "/run/fervo-worker",
    socketFolders: [],
    // Of a configuration with the default shutdown_timeout_ms, 30 s.
    stopS: 40,
    openFiles: 32_768,
    runsProcesses: false,
    hasOwnFpm: false,
    runFolders: [],
    fpmProgram: undefined,
  });
  const [, afterTitle] = split(text, "\n\n");
  const head =
    `# A worker for the configuration /etc/fervo-worker/NAME.toml: systemctl enable --now fervo-worker@NAME
#
# It runs as www-data, as the PHP of the web does: that user connects to php-fpm's socket, and its producers write to the queue.
# What is to be different for one worker goes into a drop-in, "systemctl edit fervo-worker@NAME":
#   ReadWritePaths=   for a queue elsewhere than in /var/lib/fervo-worker
#   TimeoutStopSec=   10 s above shutdown_timeout_ms, when that is above 30000
# "fervo-worker init --systemd" makes a unit for another user (--user), for jobs that are processes ([processes.NAME]), and for a queue
# below /home or /tmp.
`;
  return replaced(
    replaced(`${head}\n${afterTitle}`, "php-fpm.service", FPM_UNITS.join(" "))
      .replace(
        "Description=Background jobs on PHP-FPM",
        "Description=Background jobs on PHP-FPM, by %i\nDocumentation=man:fervo-worker(1)",
      ),
    INSTANCE,
    "%i",
  );
}

function split(text: string, at: string): [string, string] {
  const index = text.indexOf(at);
  return [text.slice(0, index), text.slice(index + at.length)];
}

function replaced(text: string, what: string, by: string): string {
  if (!text.includes(what)) throw new Error(`The unit has no ${what}`);
  return text.replaceAll(what, by);
}
