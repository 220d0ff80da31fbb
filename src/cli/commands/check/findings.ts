import { systemClock } from "../../../core/time/clock.ts";
import type { Finding } from "../../../core/finding.ts";
import { checkOpenFiles, descriptorsNeeded } from "../../../doctor/open_files.ts";
import { checkProgram } from "../../../doctor/program.ts";
import { checkTracing } from "../../../doctor/tracing.ts";
import { checkBroker, scheduleFindings } from "./broker.ts";
import type { CheckContext, PlacedFinding } from "./context.ts";
import { fpmPoolCheck } from "./fpm.ts";
import { sharedFindings } from "../../../doctor/messenger.ts";
import { sharedStores } from "../../shared_stores.ts";
import { ScriptAnswers } from "./script_answers.ts";
import { checkControl, checkHttp, checkStuckJobs } from "./worker.ts";
import { secretFindings } from "./secrets.ts";
import { counted } from "../../../core/text/plural.ts";
import { descriptorUsers } from "../../settings.ts";

/** Checks one kind of parts, and yields the findings of each. */
type Check = (
  context: CheckContext & { readonly answers: ScriptAnswers },
) => AsyncIterable<readonly [subject: string, findings: readonly Finding[]]>;

/** All checks, in the order of the report. A new check is a line here. */
const CHECKS: readonly Check[] = [
  async function* configuration({ config }) {
    yield ["configuration", [
      { id: "config.valid", severity: "ok", what: counted(config.consumers.length, "consumer") },
    ]];
  },
  async function* secrets({ config, file }) {
    yield* secretFindings(config, file);
  },
  async function* brokers({ config, answers }) {
    const shared = sharedFindings(sharedStores(config));
    for (const name of config.brokers.keys()) {
      yield [`brokers.${name}`, [...await checkBroker(config, name, answers), ...shared.get(name) ?? []]];
    }
  },
  async function* schedules({ config }) {
    yield* scheduleFindings(config);
  },
  async function* fpm({ config, options, answers }) {
    const check = await fpmPoolCheck(config, options, answers);
    for (const name of config.fpm.keys()) yield [`fpm.${name}`, await check(name)];
  },
  async function* processes({ config }) {
    for (const [name, process] of config.processes) yield [`processes.${name}`, await checkProgram(process)];
  },
  async function* http({ config }) {
    if (config.http !== undefined) yield ["http", await checkHttp(config.http, config)];
  },
  async function* control({ config }) {
    if (config.controlSocket !== undefined) yield ["control", [await checkControl(config.controlSocket)]];
  },
  async function* tracing({ config }) {
    if (config.tracing !== undefined) yield ["tracing", [await checkTracing(systemClock, config.tracing)]];
  },
  async function* worker({ config }) {
    const stuck = config.controlSocket === undefined ? [] : await checkStuckJobs(config.controlSocket);
    yield ["worker", [await checkOpenFiles(descriptorsNeeded(descriptorUsers(config))), ...stuck]];
  },
];

/** Every finding. */
export async function examine(context: CheckContext): Promise<PlacedFinding[]> {
  const all: PlacedFinding[] = [];
  const answers = new ScriptAnswers(context);
  for (const check of CHECKS) {
    for await (const [subject, findings] of check({ ...context, answers })) {
      all.push(...findings.map((finding) => placed(finding, subject)));
    }
  }
  return all;
}

/** Checks of a pool or a broker say `[fpm.NAME]`; the reader wants the real name. */
function placed(finding: Finding, subject: string): PlacedFinding {
  const [kind] = subject.split(".", 1);
  const fix = finding.fix?.replaceAll(`[${kind}.NAME]`, `[${subject}]`);
  return { ...finding, ...(fix !== undefined && { fix }), subject };
}
