import example from "../../../../config.example.toml" with { type: "text" };

/** The front controller in the configuration of a plain `init`. */
export const EXAMPLE_SCRIPT = "/srv/app/fervo.php";

/** The folders of a worker as a service, and of its php-fpm. */
export interface HostPlaces {
  /** Persistent: the queue. */
  readonly state: string;
  /** Until a restart of the machine: the control socket. */
  readonly run: string;
  /** The same for its php-fpm, which runs as root. */
  readonly fpmRun: string;
}

/** The folders of the worker of that name, and of no other one. */
export function hostPlaces(name: string): HostPlaces {
  return { state: `/var/lib/${name}`, run: `/run/${name}`, fpmRun: `/run/${name}-fpm` };
}

/** config.example.toml with the paths of a worker as a service. */
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
