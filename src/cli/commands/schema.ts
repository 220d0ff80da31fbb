import { Command, Option } from "@commander-js/extra-typings";
import type { SchemaScript, SchemaScriptOptions } from "../../brokers/broker_type.ts";
import { brokerOf } from "../../config/broker_of.ts";
import { systemClock } from "../../core/time/clock.ts";
import { asFervoError, FervoError } from "../../core/errors.ts";
import { wholeNumber } from "../arguments.ts";
import { schemaOf } from "../broker_parts.ts";
import type { Context } from "../context.ts";
import { configOption } from "../options.ts";
import { chooseBroker, readConfig } from "../settings.ts";

export function schemaCommand(context: Context) {
  const { io } = context;
  return new Command("schema")
    .summary("print the SQL that creates a broker's tables")
    .description(
      "Prints the SQL that creates the tables of a broker, or brings them to the newest version, for an administrator of the " +
        "database. It asks the server what is missing, and changes nothing. With --from, and with --product where a driver is " +
        "that of several servers, it asks nothing.",
    )
    .argument("[broker]", "the broker, if the configuration has several")
    .addOption(configOption())
    .addOption(
      new Option("--from <version>", "the version of the tables; 0 without tables (default: ask the server)")
        .argParser(wholeNumber(0)),
    )
    .addOption(
      new Option(
        "--product <product>",
        "what the server is, for a driver of several (default: ask the server)",
      )
        .choices(context.brokerTypes.flatMap(({ schema }) => schema?.products ?? [])),
    )
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker schema | psql -v ON_ERROR_STOP=1 shop
  $ fervo-worker schema | mariadb shop
  $ fervo-worker schema --from 0 --product mariadb > tables.sql`,
    )
    .action(async (named, options, command) => {
      const config = await readConfig(context, options.config);
      const name = chooseBroker(config, named);
      const broker = brokerOf(config, name);
      const schema = schemaOf(broker, name);
      if (options.product !== undefined && !schema.products.includes(options.product)) {
        command.error(
          `--product of this broker is ${schema.products.join(" or ")}, and not "${options.product}"`,
        );
      }
      if (options.from !== undefined && options.from > schema.version) {
        command.error(`--from is at most ${schema.version}, the newest version of the tables`);
      }
      const product = options.product ?? (schema.products.length === 1 ? schema.products[0] : undefined);
      const { from } = options;
      const script = product !== undefined && from !== undefined ? { product, from } : {
        ...await asked(schema, broker.settings),
        ...(product && { product }),
        ...(from !== undefined && { from }),
      };
      if (script.from > schema.version) throw newerTables(script.from, schema.version);
      io.out(schema.write(broker.settings, script));
    });
}

async function asked(schema: SchemaScript, settings: unknown): Promise<SchemaScriptOptions> {
  try {
    return await schema.ask(systemClock, settings);
  } catch (thrown) {
    const error = asFervoError(thrown);
    const options = schema.products.length === 1 ? "--from VERSION" : "--from VERSION and --product PRODUCT";
    throw new FervoError(error.code, `${error.message}. Without the server, give ${options}`, {
      cause: error,
    });
  }
}

function newerTables(version: number, newest: number): FervoError {
  return new FervoError(
    "QUEUE_UNAVAILABLE",
    `The tables have version ${version}, and this fervo-worker supports up to ${newest}: upgrade fervo-worker`,
  );
}
