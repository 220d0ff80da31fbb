import { Command } from "@commander-js/extra-typings";
import type { DeadLetter } from "../../../core/admin.ts";
import { confirmation } from "../../confirmation.ts";
import type { Context } from "../../context.ts";
import {
  type DeadFilter,
  filterOptions,
  hasFilter,
  letterTable,
  listLetters,
  notFound,
  type OpenDead,
  openDead,
  type UsageErrors,
} from "./letters.ts";
import { ExitCode } from "../../exit_code.ts";
import { jsonLine } from "../../text/json_line.ts";
import { brokerOption, configOption, jsonOption } from "../../options.ts";
import { counted } from "../../../core/text/plural.ts";
import { hintAtCode, hintAtQueue } from "../../hints.ts";

/** Dead letters that are read at once. */
const PAGE = 1_000;
const NO_PAYLOAD = new Uint8Array(0);

/** `dead retry` and `dead remove`: given ids at once, many after a confirmation. */
export function changeCommand(context: Context, verb: "retry" | "remove", done: string) {
  const { io, setExitCode } = context;
  const summary = verb === "retry"
    ? "make dead jobs ready again, with all their attempts"
    : "delete dead jobs";
  const { queue, code, since, match } = filterOptions();
  return new Command(verb)
    .summary(summary)
    .description(
      `${summary[0]!.toUpperCase()}${summary.slice(1)}: by id, by filter, or all. ` +
        "It asks before it changes many, unless --yes is given.",
    )
    .argument("[ids...]", "the ids of the jobs")
    .option("--all", "all dead jobs of the broker")
    .addOption(queue)
    .addOption(code)
    .addOption(since)
    .addOption(match)
    .option("--yes", "do not ask for confirmation")
    .option("--dry-run", "show which jobs would change, and change nothing")
    .addOption(configOption())
    .addOption(brokerOption())
    .addOption(jsonOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker dead ${verb} 42 43
  $ fervo-worker dead ${verb} --code JOB_TIMEOUT --since 2h --dry-run
  $ fervo-worker dead ${verb} --queue mail --match ann@example.org
  $ fervo-worker dead ${verb} --all --yes`,
    )
    .action(async (ids, options, command) => {
      const isAll = options.all === true;
      const filter: DeadFilter = options;
      if ([ids.length > 0, isAll, hasFilter(filter)].filter(Boolean).length !== 1) {
        command.error(
          "Give job ids, a filter (--queue, --code, --since or --match), or --all",
        );
      }
      // Given ids are explicit enough.
      const isConfirmed = confirmation(context, command, ids.length > 0 ? { yes: true } : options);

      await using dead = await openDead(context, options);
      const letters = ids.length > 0
        ? await named(dead, ids)
        : isAll && options.dryRun !== true
        ? "all"
        : await filtered(command, dead, filter);
      const count = letters === "all" ? Infinity : letters.length;
      if (count === 0) {
        hintAtQueue(io, dead.config, options.queue);
        hintAtCode(io, options.code);
      }
      if (options.dryRun) {
        if (!options.json && count > 0) io.out(letterTable(letters as DeadLetter[]));
        tell({ count, ids: idsOf(letters) }, `Would ${verb} ${counted(count, "job")}; nothing was changed`);
      } else {
        const what = letters === "all"
          ? `all dead jobs of the broker "${dead.name}"`
          : counted(count, "dead job");
        if (count > 0 && !await isConfirmed(`${capitalized(verb)} ${what}?`)) return;
        const changed = count > 0 ? await dead.letters[verb](idsOf(letters)) : 0;
        tell({ count: changed }, `${done} ${counted(changed, "job")}`);
      }
      for (const id of missing(ids, letters)) {
        io.err(`fervo-worker: ${notFound(id).message}\n`);
        setExitCode(ExitCode.failed);
      }

      function tell(result: object, text: string): void {
        io.out(options.json ? jsonLine(result) : `${text}\n`);
      }
    });
}

function idsOf(letters: "all" | readonly DeadLetter[]): "all" | string[] {
  return letters === "all" ? letters : letters.map(({ id }) => id);
}

function missing(ids: readonly string[], letters: "all" | readonly DeadLetter[]): string[] {
  const found = new Set(idsOf(letters));
  return ids.filter((id) => !found.has(id));
}

/** The dead letters among the ids, as given. */
async function named({ letters: all }: OpenDead, ids: readonly string[]): Promise<DeadLetter[]> {
  const letters = await all.find([...new Set(ids)]);
  const byId = new Map(letters.map((letter) => [letter.id, letter]));
  return ids.flatMap((id) => byId.get(id) ?? []);
}

/** All that match the filter. */
async function filtered(command: UsageErrors, dead: OpenDead, filter: DeadFilter): Promise<DeadLetter[]> {
  const letters: DeadLetter[] = [];
  for (;;) {
    const page = await listLetters(command, dead, filter, { limit: PAGE, after: letters.at(-1)?.place });
    // There may be very many, and their payloads are not shown.
    for (const letter of page) letters.push({ ...letter, payload: NO_PAYLOAD });
    if (page.length < PAGE) return letters;
  }
}

function capitalized(text: string): string {
  return `${text[0]!.toUpperCase()}${text.slice(1)}`;
}
