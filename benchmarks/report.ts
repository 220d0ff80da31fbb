/** What a benchmark says, on the terminal and in a file. */
export class Report {
  readonly #lines: string[] = [];

  constructor(title: string) {
    this.say(`# ${title}\n`);
  }

  say(line: string): void {
    this.#lines.push(line);
    Deno.stdout.writeSync(new TextEncoder().encode(`${line}\n`));
  }

  /** On the terminal only. */
  note(line: string): void {
    Deno.stderr.writeSync(new TextEncoder().encode(`${line}\n`));
  }

  async write(file: URL): Promise<void> {
    await Deno.writeTextFile(file, this.#lines.join("\n") + "\n");
  }
}

/** When, where and with what a benchmark ran, in one line. */
export async function conditions(): Promise<string> {
  const cpu = /model name\s*: (.*)/.exec(await Deno.readTextFile("/proc/cpuinfo"))?.[1] ?? "unknown CPU";
  return `${
    new Date().toISOString().slice(0, 10)
  }; ${navigator.hardwareConcurrency} cores (${cpu}), php-fpm on the same ` +
    `cores over a unix socket; Deno ${Deno.version.deno}; load before the start ${
      Deno.loadavg()[0]!.toFixed(2)
    }`;
}

/** `median (lowest–highest)` */
export function spread(values: readonly number[], digits: number): string {
  const sorted = values.toSorted((a, b) => a - b);
  const show = (value: number) => value.toFixed(digits);
  return `${show(sorted[sorted.length >> 1]!)} (${show(sorted[0]!)}–${show(sorted.at(-1)!)})`;
}
