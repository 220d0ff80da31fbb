import type { BrokerFindingId, Finding } from "../../../core/finding.ts";

/** From this share of the limit on, others may soon be refused. */
const NEARLY_ALL = 0.8;

/** Judges the number of connections to a server. @param max Those that users without special rights can have. */
export function connectionFindings(
  { id, used, max, setting }: {
    readonly id: BrokerFindingId;
    readonly used: number;
    readonly max: number;
    readonly setting: string;
  },
): Finding[] {
  if (!(max > 0) || used < NEARLY_ALL * max) return [];
  return [{
    id,
    severity: "warning",
    what: `${used} of ${max} connections are in use`,
    why: "at the limit, a worker that starts or reconnects takes no jobs until another connection ends",
    fix: `raise ${setting}, or run fewer processes; a worker needs two connections for each broker`,
  }];
}
