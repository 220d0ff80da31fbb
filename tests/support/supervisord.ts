import { eventually } from "./eventually.ts";
import { soon } from "./soon.ts";

/** A supervisord of one's own in a folder, with the programs of a file; gone with its scope, and they with it. */
export class Supervisord implements AsyncDisposable {
  readonly #folder: string;
  readonly #process: Deno.ChildProcess;

  private constructor(folder: string, process: Deno.ChildProcess) {
    this.#folder = folder;
    this.#process = process;
  }

  /**
   * @param programs Text of the file with its programs.
   * @param more Other files with programs, as a pattern, which may come later.
   */
  static async start(folder: string, programs: string, more = ""): Promise<Supervisord> {
    await Deno.writeTextFile(`${folder}/programs.conf`, programs);
    const config = `
[unix_http_server]
file = ${folder}/supervisor.sock
[supervisord]
logfile = ${folder}/supervisord.log
pidfile = ${folder}/supervisord.pid
childlogdir = ${folder}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[supervisorctl]
serverurl = unix://${folder}/supervisor.sock
[include]
files = ${folder}/programs.conf ${more}
`;
    await Deno.writeTextFile(`${folder}/supervisord.conf`, config);
    const process = new Deno.Command("supervisord", {
      args: ["--nodaemon", "--silent", "--configuration", `${folder}/supervisord.conf`],
      stdin: "null",
      stdout: "null",
      stderr: "null",
    }).spawn();
    const supervisord = new Supervisord(folder, process);
    await soon("supervisord answers", supervisord.#answers());
    return supervisord;
  }

  /** What supervisorctl says to a command. */
  async ctl(...args: string[]): Promise<string> {
    const { stdout } = await new Deno.Command("supervisorctl", {
      args: ["--configuration", `${this.#folder}/supervisord.conf`, ...args],
      stderr: "null",
    }).output();
    return new TextDecoder().decode(stdout);
  }

  /** The process id of the program, once it is in that state. */
  async pidOnce(program: string, isOther: (pid: number) => boolean = () => true): Promise<number> {
    let pid = 0;
    await eventually(`${program} is RUNNING`, async () => {
      pid = Number(/RUNNING +pid (\d+)/.exec(await this.ctl("status", program))?.[1] ?? 0);
      return pid > 0 && isOther(pid);
    });
    return pid;
  }

  /** SIGUSR2: opens its log files again, as after a rotation by others. */
  reopenLogs(): void {
    this.#process.kill("SIGUSR2");
  }

  /** Stands still until {@link resume}: it reads none of its programs' output, and answers nobody. */
  suspend(): void {
    this.#process.kill("SIGSTOP");
  }

  resume(): void {
    this.#process.kill("SIGCONT");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // It ends its programs first.
    this.#process.kill("SIGTERM");
    await this.#process.status;
  }

  async #answers(): Promise<void> {
    while (!/^\d+$/.test((await this.ctl("pid")).trim())) {
      await new Promise((resolve) => setTimeout(resolve, 20));
    }
  }
}
