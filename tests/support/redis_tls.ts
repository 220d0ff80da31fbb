import { runProgram } from "./run_program.ts";

/** An authority of one's own and a certificate by it, for a Redis with TLS. */
export class RedisTls implements AsyncDisposable {
  readonly #folder: string;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  /** @param host The server's IP address. */
  static async create(host: string): Promise<RedisTls> {
    const folder = await Deno.makeTempDir({ prefix: "fervo-tls-" });
    const tls = new RedisTls(folder);
    const openssl = async (args: string) => {
      const { success, said } = await runProgram("openssl", ...args.split(" "));
      if (!success) throw new Error(said);
    };
    try {
      const file = (name: string) => `${folder}/${name}`;
      const key = (name: string) => `-newkey rsa:2048 -nodes -keyout ${file(name)}`;
      await openssl(`req -x509 ${key("ca.key")} -out ${file("ca.pem")} -days 2 -subj /CN=authority`);
      await openssl(`req ${key("leaf.key")} -out ${file("leaf.csr")} -subj /CN=${host}`);
      await Deno.writeTextFile(file("ext"), `subjectAltName=IP:${host}\nbasicConstraints=CA:FALSE\n`);
      const authority = `-CA ${file("ca.pem")} -CAkey ${file("ca.key")} -CAcreateserial`;
      await openssl(
        `x509 -req -in ${file("leaf.csr")} ${authority} -out ${file("leaf.pem")} -days 2 -extfile ${
          file("ext")
        }`,
      );
      return tls;
    } catch (error) {
      await tls[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The certificate to trust. */
  get caFile(): string {
    return `${this.#folder}/ca.pem`;
  }

  /** The lines of redis.conf that have it listen at this port. */
  config(port: number): string[] {
    return [
      `tls-port ${port}`,
      `tls-cert-file ${this.#folder}/leaf.pem`,
      `tls-key-file ${this.#folder}/leaf.key`,
      `tls-ca-cert-file ${this.caFile}`,
      "tls-auth-clients no",
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}
