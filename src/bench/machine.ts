import { readProc } from "../system/proc.ts";
import type { Conditions } from "./result.ts";

/** The machine, as far as the kernel tells of it. */
export async function describeMachine(): Promise<
  Pick<Conditions, "runtime" | "cpu_model" | "cpu_cores" | "memory_bytes" | "kernel" | "load_average">
> {
  const [cpu, memory, kernel, load] = [
    "/proc/cpuinfo",
    "/proc/meminfo",
    "/proc/sys/kernel/osrelease",
    "/proc/loadavg",
  ];
  const texts = await readProc([cpu!, memory!, kernel!, load!]).catch(() => new Map<string, string>());
  const kibibytes = /^MemTotal:\s+(\d+) kB/m.exec(texts.get(memory!) ?? "")?.[1];
  const average = texts.get(load!)?.split(" ")[0];
  return {
    runtime: `Deno ${Deno.version.deno}`,
    cpu_model: /^(?:model name|Model|cpu model)\s*: (.*)/m.exec(texts.get(cpu!) ?? "")?.[1] ?? null,
    cpu_cores: navigator.hardwareConcurrency,
    memory_bytes: kibibytes === undefined ? null : 1_024 * Number(kibibytes),
    kernel: texts.get(kernel!)?.trim() ?? null,
    load_average: average === undefined ? null : Number(average),
  };
}
