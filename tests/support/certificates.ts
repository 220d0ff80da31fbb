import { runProgram } from "./run_program.ts";
import { giveToServerUser } from "./server_user.ts";

/** A certificate with its key, as PEM files. */
export interface Certificate {
  readonly certFile: string;
  readonly keyFile: string;
}

/** An authority of one's own, whose certificates are in a temporary folder; gone with its scope. */
export class Authority implements AsyncDisposable {
  readonly #folder: string;
  #issued = 0;

  private constructor(folder: string) {
    this.#folder = folder;
  }

  static async create(): Promise<Authority> {
    const authority = new Authority(await Deno.makeTempDir({ prefix: "fervo-authority-" }));
    try {
      const { caFile } = authority;
      await openssl(
        "req",
        "-x509",
        ...newKey(authority.#keyFile),
        "-out",
        caFile,
        "-days",
        "2",
        "-subj",
        "/CN=authority",
      );
      return authority;
    } catch (error) {
      await authority[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The certificate to trust. */
  get caFile(): string {
    return `${this.#folder}/ca.pem`;
  }

  get #keyFile(): string {
    return `${this.#folder}/ca.key`;
  }

  /**
   * Issues a certificate.
   *
   * @param commonName The server's IP address, or the name of a user.
   * @param addresses The IP addresses that the certificate is valid for.
   */
  async issue(commonName: string, addresses: readonly string[] = []): Promise<Certificate> {
    const base = `${this.#folder}/${++this.#issued}`;
    const [certFile, keyFile, request, extensions] = [".pem", ".key", ".csr", ".ext"].map((end) =>
      base + end
    );
    const names = addresses.map((address) => `IP:${address}`).join(",");
    await Deno.writeTextFile(
      extensions!,
      `basicConstraints=CA:FALSE\n${names === "" ? "" : `subjectAltName=${names}\n`}`,
    );
    await openssl("req", ...newKey(keyFile!), "-out", request!, "-subj", `/CN=${commonName}`);
    const by = ["-CA", this.caFile, "-CAkey", this.#keyFile, "-CAcreateserial", "-days", "2"];
    await openssl("x509", "-req", "-in", request!, "-out", certFile!, ...by, "-extfile", extensions!);
    return { certFile: certFile!, keyFile: keyFile! };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Deno.remove(this.#folder, { recursive: true });
  }
}

/** Copies of a server's own certificate, its key and the authority's certificate. */
export interface InstalledCertificate {
  readonly cert: string;
  readonly key: string;
  readonly ca: string;
}

/** Issues a certificate for a server, and puts it into its folder, where the user of servers alone can read it. */
export async function installCertificate(
  authority: Authority,
  hostname: string,
  folder: string,
): Promise<InstalledCertificate> {
  const { certFile, keyFile } = await authority.issue(hostname, [hostname]);
  const own = async (from: string, to: string) => {
    await Deno.copyFile(from, to);
    await Deno.chmod(to, 0o600);
    await giveToServerUser(to);
    return to;
  };
  return {
    cert: await own(certFile, `${folder}/cert.pem`),
    key: await own(keyFile, `${folder}/key.pem`),
    ca: await own(authority.caFile, `${folder}/ca.pem`),
  };
}

function newKey(file: string): string[] {
  return ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-keyout", file];
}

async function openssl(...args: readonly string[]): Promise<void> {
  const { success, said } = await runProgram("openssl", ...args);
  if (!success) throw new Error(said);
}
