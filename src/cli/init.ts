import { basename } from "node:path";
import { Command } from "@commander-js/extra-typings";
import example from "../../config.example.toml" with { type: "text" };
import { fileReason } from "../core/file_error.ts";
import type { ServiceFile } from "../service/service.ts";
import { writeWithMode } from "../system/write_with_mode.ts";
import type { Context } from "./context.ts";
import { serviceFiles } from "./init_service.ts";
import { configOption } from "./options.ts";
import { CONFIG_PLACES } from "./settings.ts";

export function initCommand({ io }: Context) {
  return new Command("init")
    .summary("write a commented configuration, or the files that run it as a service")
    .description(
      "Writes a configuration file with every option, its default and what it does. With --supervisor, --systemd or " +
        "--fpm it prints instead the files that run the worker, and a php-fpm for its jobs, as services, made for the " +
        "configuration: paths, limits that nest, and as many PHP processes as jobs.",
    )
    .argument(
      "[file]",
      `where the configuration goes, - for standard output (default: "${CONFIG_PLACES[0]}")`,
    )
    .option("--force", "overwrite existing files")
    .option("--supervisor", "print what runs the worker under supervisord")
    .option("--systemd", "print what runs the worker under systemd, with no more rights than it needs")
    .option("--fpm", "print a php-fpm configuration for jobs alone; with one of the above also what runs it")
    .option("--output <folder>", "write these files into a folder instead")
    .option("--user <name>", "who runs the worker and the jobs", "www-data")
    .option("--program <path>", "where fervo-worker is installed", "/usr/local/bin/fervo-worker")
    .option("--php-fpm <path>", "where php-fpm is (default: the newest one that is installed)")
    .addOption(configOption())
    .addHelpText(
      "after",
      `
Examples:
  $ fervo-worker init
  $ fervo-worker init /etc/fervo-worker/fervo-worker.toml
  $ fervo-worker init --systemd --fpm --config fervo-worker.toml
  $ fervo-worker init --supervisor --output /etc/supervisor/conf.d`,
    )
    .action(async (file, options, command) => {
      const { supervisor, systemd, fpm, output, force } = options;
      if (!(supervisor || systemd || fpm)) {
        if (output !== undefined) command.error("--output needs --supervisor, --systemd or --fpm");
        return await writeExample(file ?? CONFIG_PLACES[0]!);
      }
      if (file !== undefined) command.error(`"${file}" is for a configuration; name a folder with --output`);
      const files = await serviceFiles(io, options);
      if (output === undefined) return io.out(files.map(({ text }) => text).join("\n"));
      await writeFiles(files, output, force === true);

      async function writeExample(path: string): Promise<void> {
        if (path === "-") return io.out(example);
        // Private, for it may come to hold passwords.
        await write(path, example, 0o600, force === true);
        io.out(
          `Wrote "${path}"; set "address" and "script" in it, then run: fervo-worker check --config ${path}\n`,
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
