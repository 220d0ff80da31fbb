import { Authority, type Certificate } from "./certificates.ts";

/** An authority of one's own and a certificate by it, for a Redis with TLS. */
export class RedisTls implements AsyncDisposable {
  readonly #authority: Authority;
  readonly #certificate: Certificate;

  private constructor(authority: Authority, certificate: Certificate) {
    this.#authority = authority;
    this.#certificate = certificate;
  }

  /** @param host The server's IP address. */
  static async create(host: string): Promise<RedisTls> {
    const authority = await Authority.create();
    try {
      return new RedisTls(authority, await authority.issue(host, [host]));
    } catch (error) {
      await authority[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The certificate to trust. */
  get caFile(): string {
    return this.#authority.caFile;
  }

  /** The lines of redis.conf that have it listen at this port. */
  config(port: number): string[] {
    return [
      `tls-port ${port}`,
      `tls-cert-file ${this.#certificate.certFile}`,
      `tls-key-file ${this.#certificate.keyFile}`,
      `tls-ca-cert-file ${this.caFile}`,
      "tls-auth-clients no",
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#authority[Symbol.asyncDispose]();
  }
}
