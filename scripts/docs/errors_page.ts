/** docs/reference/errors.md: every error code. */
import { ERROR_CODE_TEXTS } from "../../src/core/errors.ts";
import { GENERATED, linked, page, table } from "./markdown.ts";

const HEAD = `# Error codes

${GENERATED}

For whoever has met a code in the log (\`code\`), in a dead letter, in the label \`code\` of a metric or in \`--json\` output: what has
happened, and what to do. The text beside the code always has the particulars. To begin with a symptom instead:
[troubleshooting.md](../troubleshooting.md).`;

export function errorsPage(): string {
  const rows = Object.entries(ERROR_CODE_TEXTS)
    .map(([code, { cause, remedy }]) => [`\`${code}\``, linked(cause), linked(remedy)]);
  return page(HEAD, table(["code", "what has happened", "what to do"], rows));
}
