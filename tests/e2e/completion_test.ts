/** The completion scripts in real shells: installed as `fervo-worker completion --help` says, then Tab is pressed. */
import assert from "node:assert/strict";
import { eventually } from "../support/eventually.ts";
import { fervoWorkerOk, fervoWorkerPath } from "../support/fervo_worker.ts";

type Shell = "bash" | "zsh" | "fish";

/** A home folder in which the completion of one shell is installed. */
class ShellHome implements AsyncDisposable {
  readonly #shell: Shell;
  readonly directory: string;

  private constructor(shell: Shell, directory: string) {
    this.#shell = shell;
    this.directory = directory;
  }

  static async create(shell: Shell): Promise<ShellHome> {
    const directory = await Deno.makeTempDir({ prefix: "fervo-shell-" });
    const home = new ShellHome(shell, directory);
    await Deno.mkdir(`${directory}/bin`);
    await Deno.symlink(await Deno.realPath(fervoWorkerPath()), `${directory}/bin/fervo-worker`);
    const script = await fervoWorkerOk(["completion", shell]);
    await home.#write({
      bash: ".completion",
      zsh: "zsh/_fervo-worker",
      fish: "fish/completions/fervo-worker.fish",
    }, script);
    // Ctrl-G shows the command line as it stands.
    await home.#write(
      { bash: ".bashrc", zsh: ".zshrc", fish: "fish/config.fish" },
      {
        bash: `source ~/.completion
bind 'set show-all-if-ambiguous on'
bind 'set enable-bracketed-paste off'
bind -x '"\\C-g": printf "<%s>\\n" "$READLINE_LINE"'
PS1='ready> '
`,
        zsh: `fpath=(~/zsh $fpath)
autoload -Uz compinit && compinit -u -D
show-line() { print -r -- "<$BUFFER>" }
zle -N show-line
bindkey '^G' show-line
PS1='ready> '
`,
        fish: "",
      }[shell],
    );
    return home;
  }

  /** What Tab at the end of `line` makes of it, and the candidates that the shell shows meanwhile. */
  async complete(line: string): Promise<{ line: string; shown: string }> {
    return this.#shell === "fish" ? await this.#askFish(line) : await this.#pressTab(line);
  }

  async exists(name: string): Promise<boolean> {
    return await Deno.stat(`${this.directory}/${name}`).then(() => true, () => false);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.directory, { recursive: true });
  }

  get #options() {
    const { directory } = this;
    const path = `${directory}/bin:${Deno.env.get("PATH")}`;
    const env = {
      HOME: directory,
      XDG_CONFIG_HOME: directory,
      ZDOTDIR: directory,
      PATH: path,
      TERM: "vt100",
    };
    return { cwd: directory, env };
  }

  async #write(names: Record<Shell, string>, text: string): Promise<void> {
    const path = `${this.directory}/${names[this.#shell]}`;
    await Deno.mkdir(path.slice(0, path.lastIndexOf("/")), { recursive: true });
    await Deno.writeTextFile(path, text);
  }

  /** fish can be asked what it would show; a single candidate is what Tab would fill in. */
  async #askFish(line: string): Promise<{ line: string; shown: string }> {
    const args = ["-c", 'complete -C "$LINE"'];
    const { env, cwd } = this.#options;
    const output = await new Deno.Command("fish", { args, cwd, env: { ...env, LINE: line } }).output();
    const shown = new TextDecoder().decode(output.stdout);
    const candidates = shown.split("\n").filter(Boolean).map((candidate) => candidate.split("\t")[0]!);
    const typed = line.slice(line.lastIndexOf(" ") + 1);
    const completed = candidates.length === 1 ? `${candidates[0]!.slice(typed.length)} ` : "";
    return { line: line + completed, shown };
  }

  /** The others have to be in a terminal, and somebody has to press Tab. */
  async #pressTab(line: string): Promise<{ line: string; shown: string }> {
    const shell = this.#shell === "bash" ? "bash --rcfile ~/.bashrc -i" : "zsh -i";
    const terminal = new Deno.Command("script", {
      args: ["--quiet", "--flush", "--command", `stty cols 200; exec ${shell}`, "/dev/null"],
      ...this.#options,
      stdin: "piped",
      stdout: "piped",
      stderr: "null",
    }).spawn();
    const keys = terminal.stdin.getWriter();
    let screen = "";
    const reading = (async () => {
      for await (const text of terminal.stdout.pipeThrough(new TextDecoderStream())) screen += text;
    })();
    try {
      await eventually(`${this.#shell} is ready`, () => screen.includes("ready> "));
      await keys.write(new TextEncoder().encode(`${line}\t\x07`));
      const shownLine = () => /<(fervo-worker.*)>\r?\n/.exec(screen);
      await eventually(`${this.#shell} shows its line`, () => shownLine() !== null);
      return { line: shownLine()![1]!, shown: screen };
    } finally {
      terminal.kill("SIGKILL");
      await keys.abort().catch(() => {});
      await reading;
      await terminal.status;
    }
  }
}

/** Lines, and what Tab makes of them. */
const COMPLETED: readonly [typed: string, completed: string][] = [
  ["fervo-worker pus", "fervo-worker push "],
  ["fervo-worker dead sh", "fervo-worker dead show "],
  ["fervo-worker push --pri", "fervo-worker push --priority "],
  ["fervo-worker push jobs '{}' --cou", "fervo-worker push jobs '{}' --count "],
  ["fervo-worker dead list --js", "fervo-worker dead list --json "],
  ["fervo-worker completion z", "fervo-worker completion zsh "],
];

/** What a shell must not run when Tab is pressed behind it. */
const DANGEROUS = [
  "fervo-worker push $(touch PWNED) --pri",
  "fervo-worker push `touch PWNED` --pri",
  "fervo-worker push '$(touch PWNED)' \"$(touch PWNED)\" --pri",
  "fervo-worker push ;touch PWNED --pri",
];

for (const shell of ["bash", "zsh", "fish"] as const) {
  Deno.test(`completion ${shell} completes subcommands, options and choices`, async () => {
    await using home = await ShellHome.create(shell);
    for (const [typed, completed] of COMPLETED) {
      assert.equal((await home.complete(typed)).line, completed);
    }
  });

  Deno.test(`completion ${shell} shows all options behind --`, async () => {
    await using home = await ShellHome.create(shell);
    const { shown } = await home.complete("fervo-worker push --");
    for (const option of ["--config", "--count", "--delay", "--priority", "--json", "--help"]) {
      assert.ok(shown.includes(option), `${option} is not in ${shown}`);
    }
  });

  Deno.test(`completion ${shell} leaves files to the shell where nothing else fits`, async () => {
    await using home = await ShellHome.create(shell);
    await Deno.writeTextFile(`${home.directory}/my-worker.toml`, "");
    const { line } = await home.complete("fervo-worker run --config my-w");
    assert.equal(line, "fervo-worker run --config my-worker.toml ");
  });

  Deno.test(`completion ${shell} runs nothing of what is typed`, async () => {
    await using home = await ShellHome.create(shell);
    for (const line of DANGEROUS) {
      const completed = await home.complete(line);
      assert.equal(await home.exists("PWNED"), false, line);
      // The words were looked at all the same. (bash does not complete behind a backtick at all.)
      if (!/[;`]/.test(line)) assert.equal(completed.line, `${line}ority `);
    }
  });
}
