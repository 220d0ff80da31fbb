import { basename, join } from "node:path";
import { Command, Option } from "@commander-js/extra-typings";
import example from "../../../../config.example.toml" with { type: "text" };
import { fileReason } from "../../../core/text/file_error.ts";
import type { ServiceFile } from "../../../service/service.ts";
import { writeWithMode } from "../../../system/write_with_mode.ts";
import type { Context } from "../../context.ts";
import { APP_KINDS, SERVICE_KINDS, setUpHost, startHost } from "./host.ts";
import { DEFAULT_NAME, serviceFiles } from "./service.ts";
import { configOption } from "../../options.ts";
import { CONFIG_PLACES } from "../../settings.ts";

/** The path in service files. */
const PROGRAM = "/usr/local/bin/fervo-worker";

export function initCommand(context: Context) {
  const { io } = context;
  return new Command("init")
    .summary("set up a worker, write a commented configuration, or print the files that run it")
    .description(
      "Writes a configuration file with every option, its default and what it does. With --service, as root, it sets up " +
        "everything that a worker needs on this machine: configuration, queue, php-fpm, services and a front controller. With " +
        "--supervisor, --systemd or --fpm it prints the files that run the worker and a php-fpm for its jobs. They fit an " +
        "existing configuration: its paths, limits that nest, and as many PHP processes as jobs.",
    )
    .argument(
      "[file]",
      `where the configuration goes, - for standard output (default: "${CONFIG_PLACES[0]}")`,
    )
    .option("--force", "overwrite existing files")
    .addOption(
      new Option("--service <kind>", "set up a worker and a php-fpm for it, as services of this kind")
        .choices(
          SERVICE_KINDS,
        ),
    )
    .addOption(
      new Option(
        "--app <kind>",
        "with --service: what runs the jobs; init writes a front controller for plain PHP, the bundle has its own",
      )
        .choices(APP_KINDS).default("plain"),
    )
    .option(
      "--script <path>",
      "with --service: an existing front controller (default with symfony: the bundle's, of the application in the " +
        "current folder)",
    )
    .option("--start", "with --service: also start it")
    .option("--name <name>", "the name of the worker, for several on one machine", DEFAULT_NAME)
    .option("--supervisor", "print the files that run the worker under supervisord")
    .option(
      "--systemd",
      "print the units that run the worker under systemd, with the rights that it needs and no others",
    )
    .option(
      "--fpm",
      "print a php-fpm configuration for jobs only; with one of the above, also the files that run it",
    )
    .option("--output <folder>", "write these files into this folder instead of printing them")
    .option("--user <name>", "the user who runs the worker and the jobs", "www-data")
    .option(
      "--program <path>",
      `where fervo-worker is installed (default: "${PROGRAM}"; with --service, itself)`,
    )
    .option("--php-fpm <path>", "the php-fpm program (default: the newest installed one)")
    .addOption(configOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker init
  $ sudo fervo-worker init --service supervisor
  $ sudo fervo-worker init --service systemd --app symfony --start
  $ fervo-worker init /etc/fervo-worker/fervo-worker.toml
  $ fervo-worker init --systemd --fpm --config fervo-worker.toml
  $ fervo-worker init --supervisor --output /etc/supervisor/conf.d`,
    )
    .action(async (file, options, command) => {
      const { service, supervisor, systemd, fpm, output, force } = options;
      if (service !== undefined) {
        const others = { supervisor, systemd, fpm, output, force, config: options.config };
        const [other] = Object.entries(others).find(([, value]) => value !== undefined) ?? [];
        if (other !== undefined) command.error(`--service sets up all by itself: leave --${other} out`);
        if (file !== undefined) {
          command.error("--service says where the configuration goes; --name tells workers apart");
        }
        const host = await setUpHost(context, { ...options, service });
        io.out(host.written.map((path) => `Wrote "${path}"\n`).join(""));
        if (host.note !== undefined) io.out(`${host.note}\n`);
        if (host.warning !== undefined) io.err(`fervo-worker: ${host.warning}\n`);
        if (options.start) await startHost(host);
        const start = host.start.map((words) => words.join(" ")).join(" && ");
        const next = [...(options.start ? [] : [start]), host.tryOut];
        return io.out(
          [...(options.start ? ["Started"] : []), "Next:", ...next.map((line) => `  $ ${line}`), ""].join(
            "\n",
          ),
        );
      }
      for (const name of ["script", "start"] as const) {
        if (options[name] !== undefined) command.error(`--${name} needs --service`);
      }
      if (!(supervisor || systemd || fpm)) {
        if (output !== undefined) command.error("--output needs --supervisor, --systemd or --fpm");
        return await writeExample(file ?? CONFIG_PLACES[0]!);
      }
      if (file !== undefined) command.error(`"${file}" is for a configuration; name a folder with --output`);
      const { files, warnings } = await serviceFiles(context, {
        ...options,
        program: options.program ?? PROGRAM,
      });
      for (const warning of warnings) {
        io.err(`fervo-worker: ${warning[0]!.toUpperCase()}${warning.slice(1)}\n`);
      }
      if (output === undefined) return io.out(files.map(({ text }) => text).join("\n"));
      await writeFiles(files, output, force === true);

      async function writeExample(place: string): Promise<void> {
        if (place === "-") return io.out(example);
        const isFolder = place.endsWith("/") ||
          await Deno.stat(place).then(({ isDirectory }) => isDirectory, () => false);
        const path = isFolder ? join(place, CONFIG_PLACES[0]!) : place;
        // Private, because it may get passwords.
        await write(path, example, 0o600, force === true);
        io.out(
          `Wrote "${path}"; set "address" and "script" in it, and "status_path" where the pool has a pm.status_path, then run: ` +
            `fervo-worker check --config ${path}\n`,
        );
      }

      async function writeFiles(
        files: readonly ServiceFile[],
        folder: string,
        overwrite: boolean,
      ): Promise<void> {
        const placed = files.map(({ path, text }) => ({
          path: `${folder}/${basename(path)}`,
          home: path,
          text,
        }));
        // All or none.
        for (const { path } of placed) {
          const exists = await Deno.lstat(path).then(() => true, () => false);
          if (exists && !overwrite) command.error(`"${path}" exists; --force overwrites it`);
        }
        for (const { path, home, text } of placed) {
          await write(path, text, 0o644, overwrite);
          io.out(`Wrote "${path}"${path === home ? "" : `, which belongs at "${home}"`}\n`);
        }
      }

      async function write(path: string, text: string, mode: number, overwrite: boolean): Promise<void> {
        try {
          await writeWithMode(path, text, { mode, overwrite });
        } catch (error) {
          if (error instanceof Deno.errors.AlreadyExists) {
            command.error(`"${path}" exists; --force overwrites it`);
          }
          command.error(`Cannot write "${path}": ${fileReason(error)}`);
        }
      }
    });
}
