/** A firewall as they are between a worker and its servers: it forgets connections on which nothing was sent for a while. */
import { runProgram } from "./run_program.ts";

/** Where a server is started, other than in the network of the test. */
export interface ServerNetwork {
  /** The address to listen at. */
  readonly host: string;
  /** What runs a program there; it becomes that program. */
  readonly command: readonly string[];
  /** Whether something accepts connections at this address, as seen from there. */
  accepts(address: string): Promise<boolean>;
}

const CLIENT = "10.77.1.2";
const SERVERS = "10.77.2.2";

/**
 * Three network namespaces: a worker's, the servers', and a firewall's between them.
 *
 * 1. Passes TCP connections that begin, and what belongs to those that it remembers. All else it drops without a word.
 * 2. Forgets a connection on which nothing was sent for `forgetsAfterS`.
 * 3. Can be broken, so that it passes nothing, and mended.
 */
export class ForgetfulFirewall implements AsyncDisposable {
  readonly servers: ServerNetwork;
  /** For `CommandOptions.shell`: runs the worker on its side. */
  readonly shell: string;
  readonly #name: string;

  private constructor(name: string) {
    this.#name = name;
    this.shell = `exec ip netns exec ${name}-client "$@"`;
    const command = ["ip", "netns", "exec", `${name}-servers`];
    this.servers = {
      host: SERVERS,
      command,
      accepts: async (address) => {
        const connect = `exec 3<>/dev/tcp/${address.replace(":", "/")}`;
        return (await runProgram(command[0]!, ...command.slice(1), "bash", "-c", connect)).success;
      },
    };
  }

  /**
   * Why this machine or user may not have one; undefined where it may.
   *
   * @throws {Error} when a program is missing, with what to do.
   */
  static async whyImpossible(): Promise<string | undefined> {
    for (const program of ["ip", "ss", "nft"]) {
      const found = await shell(`command -v ${program} || true`);
      if (found === "") throw new Error(`Cannot find ${program}: run scripts/setup test`);
    }
    try {
      await using firewall = await ForgetfulFirewall.start({ forgetsAfterS: 5 });
      await firewall.breakDown();
      return undefined;
    } catch (error) {
      return (error as Error).message;
    }
  }

  static async start({ forgetsAfterS }: { forgetsAfterS: number }): Promise<ForgetfulFirewall> {
    // Two names of interfaces, of at most 15 characters, are in a namespace of their own: they meet no others.
    const name = `fervo-${crypto.randomUUID().slice(0, 8)}`;
    const firewall = new ForgetfulFirewall(name);
    try {
      await shell(`
        for side in client servers between; do ip netns add ${name}-$side; ip -n ${name}-$side link set lo up; done
        connect() { # SIDE ADDRESS GATEWAY
          ip link add near netns ${name}-$1 type veth peer name $1 netns ${name}-between
          ip -n ${name}-$1 addr add $2/24 dev near
          ip -n ${name}-between addr add $3/24 dev $1
          ip -n ${name}-$1 link set near up
          ip -n ${name}-between link set $1 up
          ip -n ${name}-$1 route add default via $3
        }
        connect client ${CLIENT} 10.77.1.1
        connect servers ${SERVERS} 10.77.2.1
      `);
      await firewall.#between(`
        echo 1 >/proc/sys/net/ipv4/ip_forward
        nft 'add table ip fervo; add chain ip fervo pass { type filter hook forward priority 0; policy drop; }'
        nft 'add rule ip fervo pass ct state established accept'
        nft 'add rule ip fervo pass ct state new tcp flags & (syn | ack) == syn accept'
        echo ${forgetsAfterS} >/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established
        # What it has forgotten is not taken for a connection that began before it did.
        echo 0 >/proc/sys/net/netfilter/nf_conntrack_tcp_loose
      `);
      return firewall;
    } catch (error) {
      await firewall[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** From now on it passes nothing, as when the machine behind it has lost its power. */
  async breakDown(): Promise<void> {
    await this.#between("nft 'insert rule ip fervo pass drop'");
  }

  /** It passes again what it passed before. */
  async mend(): Promise<void> {
    await this.#between(`
      handle=$(nft -a list chain ip fervo pass | sed -n 's/^.*drop # handle \\([0-9]*\\)$/\\1/p' | tail -n 1)
      nft "delete rule ip fervo pass handle $handle"
    `);
  }

  /** Sets how often the worker's kernel sends again what nobody acknowledges: 15 times takes a quarter of an hour. */
  async giveUpAfter(retransmissions: number): Promise<void> {
    await shell(
      `ip netns exec ${this.#name}-client sh -c 'echo ${retransmissions} >/proc/sys/net/ipv4/tcp_retries2'`,
    );
  }

  /** The worker's connections as `ss` tells of them, with their timers; one a line. */
  async connections(): Promise<string[]> {
    const said = await shell(`ip netns exec ${this.#name}-client ss --tcp --options --numeric --no-header`);
    return said.split("\n").filter((line) => line.startsWith("ESTAB"));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    for (const side of ["client", "servers", "between"]) {
      await runProgram("ip", "netns", "delete", `${this.#name}-${side}`).catch(() => {});
    }
  }

  #between(commands: string): Promise<string> {
    return shell(`ip netns exec ${this.#name}-between sh -e -c ${quote(commands)}`);
  }
}

async function shell(commands: string): Promise<string> {
  // nft and ip are not on the PATH of every user.
  const { success, said } = await runProgram("sh", "-e", "-c", `PATH=$PATH:/usr/sbin:/sbin\n${commands}`);
  if (success) return said;
  throw new Error(`no network namespaces with a firewall (${said.trim().split("\n")[0]})`);
}

function quote(text: string): string {
  return `'${text.replaceAll("'", "'\\''")}'`;
}
