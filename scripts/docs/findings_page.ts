/** docs/reference/findings.md: everything that `check` can find. */
import { BROKER_TYPES } from "../../src/brokers/mod.ts";
import { FINDING_TEXTS, type FindingText } from "../../src/core/finding.ts";
import { GENERATED, page, table } from "./markdown.ts";

const HEAD = `# Findings of \`check\`

${GENERATED}

For whoever runs \`fervo-worker check\`: everything that it looks at. The output itself says why a finding matters (\`Why\`) and
which line to change (\`Fix\`); the word in brackets at the end of its first line is the id below.`;

const EXAMPLE = `\`\`\`console
$ fervo-worker check --call-script --fpm-config /etc/php/8.2/fpm/php-fpm.conf
ok       brokers.default: reached; 0 queues with jobs
warning  fpm.default: process_control_timeout is 0, the default [fpm.process_control_timeout]
         Why: every reload of php-fpm kills the running jobs; they start again
         Fix: in [global] of php-fpm.conf: process_control_timeout = 65s
\`\`\``;

const SEVERITIES = table(["severity", "meaning", "exit code"], [
  ["`ok`", "looked at, and in order", "0"],
  ["`notice`", "worth knowing; or it cannot be known, and is not taken for good", "0"],
  ["`warning`", "will lose, repeat or delay jobs some day", "1"],
  [
    "`error`",
    "jobs cannot run: a configuration is wrong (3), or a server cannot be reached (4); or others can run code (3)",
    "3 or 4",
  ],
]);

const RULES = `The exit code is that of the worst finding; of several errors, that of the first.

\`--json\` prints a list of objects, one a finding: \`id\` (below; it never changes), \`subject\` (the part of the configuration, as
\`fpm.default\`), \`severity\`, \`what\`, and \`why\`, \`fix\` and \`details\` (lines that a program has said, such as STDERR), which may be
\`null\`.

By itself \`check\` runs no program and no script. Two options let it know more; a finding that needs one of them names it:

- \`--call-script\` has php-fpm run the front controller with \`FERVO_CHECK=1\` and no job, so that it tells PHP's settings
  ([protocol.md](../protocol.md#the-check)).
- \`--fpm-config FILE\` asks \`php-fpm -tt\` what it reads in that \`php-fpm.conf\` and in all files that it includes; \`--php-fpm PATH\`
  says which php-fpm, where several are installed. That php-fpm serves nothing. Name the file that the master is started with: the
  file of a pool (\`pool.d/www.conf\`) says nothing of \`[global]\` and of other pools. PHP settings that the pool sets
  (\`php_admin_value[…]\`) are judged as well; php.ini is not.

Run \`check\` as the worker's user, or as root with \`--user NAME\`: root is refused nothing, and so sees no missing rights.`;

function rows(texts: Readonly<Record<string, FindingText>>): string[][] {
  return Object.entries(texts)
    .map(([id, { looksAt, needs }]) => [
      `\`${id}\``,
      looksAt,
      needs === undefined ? "" : `\`${needs}\``,
    ]);
}

export function findingsPage(): string {
  // The types of a driver may share some.
  const ofBrokers = rows(Object.assign({}, ...BROKER_TYPES.map(({ findings }) => findings)));
  const all = rows(FINDING_TEXTS);
  // Those of brokers stand behind those of queues and schedules, in the order in which `check` prints them.
  const at = all.findIndex(([id]) => id!.startsWith("`fpm."));
  return page(
    HEAD,
    EXAMPLE,
    SEVERITIES,
    RULES,
    table(["finding", "what is looked at, and what is in order", "needs"], [
      ...all.slice(0, at),
      ...ofBrokers,
      ...all.slice(at),
    ]),
  );
}
