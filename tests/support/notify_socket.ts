import { eventually } from "./eventually.ts";

/** A service manager's socket: remembers every datagram. */
export class NotifySocket implements AsyncDisposable {
  readonly path: string;
  readonly #folder: string;
  readonly #socket: Deno.DatagramConn;
  readonly #received: Promise<void>;
  /** As they came, each with its lines. */
  readonly messages: string[][] = [];

  private constructor(folder: string) {
    this.#folder = folder;
    this.path = `${folder}/notify`;
    this.#socket = Deno.listenDatagram({ transport: "unixpacket", path: this.path });
    this.#received = this.#receive();
  }

  static async listen(): Promise<NotifySocket> {
    return new NotifySocket(await Deno.makeTempDir({ prefix: "fervo-manager-" }));
  }

  /** How often an assignment has come, or one that matches. */
  count(assignment: string | RegExp): number {
    return this.messages.flat().filter((line) =>
      typeof assignment === "string" ? line === assignment : assignment.test(line)
    ).length;
  }

  /** Resolves when an assignment, or one that matches, has come so often. */
  async has(assignment: string | RegExp, times = 1): Promise<void> {
    await eventually(`${assignment} has come ${times} times`, () => this.count(assignment) >= times);
  }

  async #receive(): Promise<void> {
    for await (const [bytes] of this.#socket) {
      this.messages.push(new TextDecoder().decode(bytes).split("\n"));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#socket.close();
    await this.#received;
    await Deno.remove(this.#folder, { recursive: true });
  }
}
