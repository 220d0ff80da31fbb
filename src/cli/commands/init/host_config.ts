import example from "../../../../config.example.toml" with { type: "text" };

/** Where the front controller is in the configuration that `init` writes. */
export const EXAMPLE_SCRIPT = "/srv/app/fervo.php";

/** Where a worker that is run as a service has what it writes, and its php-fpm. */
export interface HostPlaces {
  /** Kept: the queue. */
  readonly state: string;
  /** Gone with a restart of the machine: the control socket. */
  readonly run: string;
  /** The same of its php-fpm, which runs as root. */
  readonly fpmRun: string;
}

/** The places of the worker of that name: of no other one. */
export function hostPlaces(name: string): HostPlaces {
  return { state: `/var/lib/${name}`, run: `/run/${name}`, fpmRun: `/run/${name}-fpm` };
}

/** config.example.toml with the places of a worker that is run as a service. */
export function hostConfig(name: string, script: string): string {
  const { state, run, fpmRun } = hostPlaces(name);
  const values = {
    socket: ["auto", `${run}/control.sock`],
    path: ["fervo-worker.sqlite", `${state}/queue.sqlite`],
    address: ["/run/php/fervo.sock", `${fpmRun}/jobs.sock`],
    script: [EXAMPLE_SCRIPT, script],
    status_path: ["", "/status"],
    status_address: ["", `${fpmRun}/status.sock`],
  };
  return Object.entries(values).reduce((text, [key, [before, value]]) => {
    const line = `\n${key} = "${before}"\n`;
    if (!text.includes(line)) throw new TypeError(`config.example.toml has no line${line}`);
    return text.replace(line, () => `\n${key} = ${JSON.stringify(value)}\n`);
  }, example);
}
