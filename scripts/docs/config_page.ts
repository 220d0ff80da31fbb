/** docs/reference/config.md: every option of every table, by the schema; in the words of config.example.toml. */
import type * as z from "zod";
import { type BrokerType, kindOf } from "../../src/brokers/broker_type.ts";
import { BROKER_TYPES } from "../../src/brokers/mod.ts";
import { brokerTableSchema } from "../../src/config/options/broker.ts";
import { configSchema } from "../../src/config/schema.ts";
import { exampleComments, type TableComments } from "./example_comments.ts";
import { contents, GENERATED, linked, page, wrapped } from "./markdown.ts";

/** The words of the example that are for who edits it. */
const FOR_EDITORS = / ?To have (?:it|one), remove the # before these lines\./;

const HEAD = `# Configuration

${GENERATED}

For whoever writes or changes a worker's configuration: every option, its values, its default, and what it does.
[config.example.toml](../../config.example.toml) is the same as a file to begin with; \`fervo-worker init -\` prints it.`;

const RULES =
  `Commands take the file that \`--config\` names, else the file that the variable \`FERVO_CONFIG\` names, else
\`fervo-worker.toml\` in the current folder, else \`/etc/fervo-worker/fervo-worker.toml\`. The file is TOML in UTF-8. An unknown
option, a wrong value or a missing table is refused; the error names every problem of the file with its line.

- **Units** are in the names: \`_ms\` is milliseconds (1000 is one second), \`_bytes\` is bytes (1048576 is 1 MiB).
- **Variables.** \`\${NAME}\` in a quoted value becomes the environment variable NAME, also for a number:
  \`concurrency = "\${SLOTS}"\`. \`$\${\` stands for the two characters \`\${\` themselves.
- **Relative paths** begin at the folder of the file. A link to the file counts as the file that it leads to; a folder that is a
  link keeps its name, so that \`current/fervo-worker.toml\` leads to the next release, too. A file that comes by a pipe, as
  \`fervo-worker check --config <(envsubst < worker.toml)\`, counts as a file in the current folder.
- **Names.** \`NAME\` in \`[brokers.NAME]\`, \`[fpm.NAME]\` and \`[processes.NAME]\` is your choice: 1 to 64 characters of
  A-Z a-z 0-9 . _ -
- **A running worker** takes a changed file at SIGHUP or \`fervo-worker reload\`.`;

/** A table of the file as a chapter: its heading, its schema, and where the example has it. */
interface Chapter {
  readonly heading: string;
  readonly shape: Readonly<Record<string, z.ZodType>> | undefined;
  readonly example: string;
  /** Said first. */
  readonly text?: string;
}

/** What a value has to be, in the words of the error that refuses it: `a whole number from 1 to 100`. */
function expected(schema: z.ZodType): string {
  const issue = schema.safeParse(Symbol()).error!.issues[0]!;
  const { message } = issue.code === "invalid_union" ? issue.errors[0]![0]! : issue;
  return message.replace(/^expected /, "").trim();
}

/** Without what fills in a value that is left out. */
function inner(schema: z.ZodType): z.ZodType {
  const { type, innerType } = schema.def as { type: string; innerType?: z.ZodType };
  return ["default", "prefault", "optional"].includes(type) ? inner(innerType!) : schema;
}

/** The keys of a table, or of each table of a record or a list. */
function shapeOf(schema: z.ZodType): Readonly<Record<string, z.ZodType>> {
  const { shape, valueType, element } = inner(schema).def as {
    shape?: Record<string, z.ZodType>;
    valueType?: z.ZodType;
    element?: z.ZodType;
  };
  return shape ?? shapeOf((valueType ?? element)!);
}

function isTable(schema: z.ZodType): boolean {
  const { type } = inner(schema).def;
  return type === "object" || type === "record" ||
    (type === "array" && isTable((inner(schema).def as unknown as { element: z.ZodType }).element));
}

/** In Markdown: options, values and tables as code, and documents as links. */
function marked(text: string): string {
  const parts = text.split(/(`[^`]*`)/);
  const code =
    /\b[A-Za-z_.]+ = (?:"[^"]*"|\d+|true|false)|'\{.*?\}'|"[^"]*"|\[\[?[a-zA-Z.]+\]\]?|\["[^\]]*\]|(?<![\w`])\/[a-z][\w\/-]*\w|\b[a-z]+(?:_[a-z0-9]+)+\b|\$\{[A-Z_]+\}|\b[A-Z]+(?:_[A-Z]+)+\b|\$_SERVER\b|\bpm\.[a-z_]+|\bping\.path\b/g;
  return parts.map((part) =>
    part.startsWith("`")
      ? part
      : part.split(/(docs\/[\w./-]+\.md)/).map((piece) =>
        piece.startsWith("docs/") ? linked(piece) : piece.replaceAll(code, (found) => `\`${found}\``)
      ).join("")
  ).join("");
}

function option(name: string, schema: z.ZodType, { options }: TableComments): string {
  const comment = options.get(name);
  if (comment === undefined || comment === "") throw new Error(`config.example.toml says nothing of ${name}`);
  const value = expected(schema);
  const { success, data } = schema.safeParse(undefined);
  const standard = !success
    ? "Required."
    : data === undefined
    ? ""
    : `Default: \`${Array.isArray(data) ? `[${data.join(", ")}]` : JSON.stringify(data)}\`.`;
  const unit = name.endsWith("_ms") ? ", in milliseconds" : name.endsWith("_bytes") ? ", in bytes" : "";
  const what = `${marked(value).replace(/^[a-z](?!hp-fpm)/, (first) => first.toUpperCase())}${unit}.`;
  return page(
    `### \`${name}\``,
    wrapped([what, standard].join(" ").trim()),
    wrapped(marked(comment.replace(/^Required\. /, ""))),
  ).trimEnd();
}

function chapter({ heading, shape, example, text }: Chapter, comments: ReadonlyMap<string, TableComments>) {
  const own = comments.get(example);
  if (own === undefined) throw new Error(`config.example.toml has no table ${example}`);
  const about = [text, marked(own.text.replace(FOR_EDITORS, ""))].filter((part) => part).join(" ");
  return page(
    `## ${heading}`,
    ...(about === "" ? [] : [wrapped(about)]),
    ...Object.entries(shape ?? {}).filter(([name, schema]) => !isTable(schema) || own.options.has(name))
      .map(([name, schema]) => option(name, schema, own)),
  ).trimEnd();
}

/** Whether it is the type of a table without a format. */
function isFirst(type: BrokerType): boolean {
  return BROKER_TYPES.find(({ driver }) => driver === type.driver) === type;
}

function kindMarked(type: BrokerType): string {
  const kind = isFirst(type) ? `driver = "${type.driver}"` : kindOf(type, BROKER_TYPES);
  return `\`${kind.replace(" and ", "` and `")}\``;
}

function chapters(): Chapter[] {
  const all = configSchema(BROKER_TYPES).shape;
  const [fpm, processes, consumers] = [all.fpm, all.processes, all.consumers].map(shapeOf);
  return [
    {
      heading: "At the top",
      shape: all,
      example: "",
      text: "What stands above the first table is for the whole worker.",
    },
    { heading: "`[log]`", shape: shapeOf(all.log), example: "[log]" },
    { heading: "`[http]`", shape: shapeOf(all.http), example: "[http]" },
    { heading: "`[tracing]`", shape: shapeOf(all.tracing), example: "[tracing]" },
    { heading: "`[tracing.headers]`", shape: undefined, example: "[tracing.headers]" },
    { heading: "`[control]`", shape: shapeOf(all.control), example: "[control]" },
    ...BROKER_TYPES.map((type): Chapter => ({
      heading: `\`[brokers.NAME]\` with ${kindMarked(type)}`,
      shape: brokerTableSchema(type, BROKER_TYPES).shape,
      example: `[brokers.${
        isFirst(type) ? type.driver.replace("sqlite", "default") : `${type.defaultFormat}_${type.driver}`
      }]`,
    })),
    { heading: "`[fpm.NAME]`", shape: fpm, example: "[fpm.default]" },
    { heading: "`[fpm.NAME.auto]`", shape: shapeOf(fpm!["auto"]!), example: "[fpm.default.auto]" },
    { heading: "`[fpm.NAME.params]`", shape: undefined, example: "[fpm.default.params]" },
    { heading: "`[processes.NAME]`", shape: processes, example: "[processes.default]" },
    { heading: "`[processes.NAME.exit_codes]`", shape: undefined, example: "[processes.default.exit_codes]" },
    { heading: "`[processes.NAME.env]`", shape: undefined, example: "[processes.default.env]" },
    { heading: "`[[consumers]]`", shape: consumers, example: "[[consumers]]" },
    { heading: "`[consumers.retry]`", shape: shapeOf(consumers!["retry"]!), example: "[consumers.retry]" },
    { heading: "`[[schedule]]`", shape: shapeOf(all.schedule), example: "[[schedule]]" },
  ];
}

/** @param example The text of config.example.toml. */
export function configPage(example: string): string {
  const comments = exampleComments(example);
  const all = chapters();
  return page(
    HEAD,
    contents(all.map(({ heading }) => heading)),
    RULES,
    ...all.map((each) => chapter(each, comments)),
  );
}
