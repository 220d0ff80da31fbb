import type { FastCgiAddress } from "../../src/fastcgi/address.ts";

/** A listener that accepts nothing and whose listen queue is full. */
export class FullQueue implements AsyncDisposable {
  readonly address: FastCgiAddress;
  readonly #close: () => Promise<void>;

  private constructor(address: FastCgiAddress, close: () => Promise<void>) {
    this.address = address;
    this.#close = close;
  }

  static async fill(transport: "unix" | "tcp"): Promise<FullQueue> {
    const directory = await Deno.makeTempDir();
    const path = `${directory}/full.sock`;
    const listener = transport === "unix"
      ? Deno.listen({ transport, path })
      : Deno.listen({ transport, hostname: "127.0.0.1", port: 0, tcpBacklog: 1 });
    const address: FastCgiAddress = listener.addr.transport === "tcp"
      ? { transport: "tcp", hostname: "127.0.0.1", port: listener.addr.port }
      : { transport: "unix", path };
    const waiting: Deno.Conn[] = [];
    const close = async () => {
      for (const socket of waiting) socket.close();
      listener.close();
      await Deno.remove(directory, { recursive: true });
    };
    if (address.transport === "tcp") {
      // The kernel holds one more than the backlog says; after that it leaves SYNs unanswered.
      for (let i = 0; i < 2; i++) {
        waiting.push(await Deno.connect({ hostname: "127.0.0.1", port: address.port }));
      }
      return new FullQueue(address, close);
    }
    for (;;) {
      try {
        waiting.push(await Deno.connect({ transport: "unix", path }));
      } catch (error) {
        if (error instanceof Deno.errors.WouldBlock) return new FullQueue(address, close);
        throw error;
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#close();
  }
}
