import type { Buffer } from "node:buffer";
import { createPrivateKey, createPublicKey, X509Certificate } from "node:crypto";
import { isIP, type Socket } from "node:net";
import { connect } from "node:tls";
import { reasonOf } from "../core/errors.ts";
import type { SqlAccess } from "./driver.ts";
import { SqlFailure } from "./failure.ts";

/** Certificates of a {@link SqlAccess}. */
export type TlsFiles = NonNullable<SqlAccess["tls"]>;

/**
 * Encrypts a connection, once both sides have agreed to. It has to be called while the server's agreement is being handled: the
 * runtime of the compiled program would read on, and take the first bytes of TLS.
 *
 * The compiled program checks the server's certificate only at the first write or read, which then fails; nothing is sent before.
 *
 * @throws {Error} when the certificate cannot be verified, or is another host's
 * @throws {SqlFailure} when the certificates or the key cannot be used
 */
export function encrypt(socket: Socket, hostname: string, tls: TlsFiles): Promise<Socket> {
  return new Promise((resolve, reject) => {
    check(tls);
    const secure = connect({
      socket,
      // Both: a certificate is verified for `host`, and an IP address must not be sent as the name of a server.
      host: hostname,
      ...(isIP(hostname) === 0 && { servername: hostname }),
      ...(tls.ca !== undefined && { ca: tls.ca }),
      ...(tls.cert !== undefined && { cert: tls.cert }),
      ...(tls.key !== undefined && { key: tls.key }),
    });
    // It stays: an error that comes between two owners of the socket must not end the process.
    secure.on("error", reject);
    secure.once("close", () => reject(new Error("the server has closed the connection")));
    secure.once("secureConnect", () => resolve(secure));
  });
}

const CERTIFICATE = /-----BEGIN CERTIFICATE-----[^-]+-----END CERTIFICATE-----/g;

/**
 * The runtime ignores an authority that it cannot read; that of the compiled program waits for ever then, and ends at a key
 * that is another certificate's.
 */
function check({ ca, cert, key }: TlsFiles): void {
  if (ca !== undefined) {
    const advice = "ca_file has no certificate that can be read; it must be PEM";
    const certificates = ca.match(CERTIFICATE) ?? [];
    if (certificates.length === 0) throw unusable("no certificate", advice);
    for (const certificate of certificates) tried(() => new X509Certificate(certificate), advice);
  }
  if (cert === undefined || key === undefined) return;
  const advice =
    "cert_file and key_file must be a client certificate and its key: both PEM, the key without a passphrase";
  const ofKey = tried(() => bytesOf(createPublicKey(createPrivateKey(key) as never)), advice);
  const ofCertificate = tried(() => bytesOf(new X509Certificate(cert).publicKey), advice);
  if (!ofKey.equals(ofCertificate)) throw unusable("the key is another certificate's", advice);
}

function bytesOf(key: { export(options: { type: "spki"; format: "der" }): Buffer }): Buffer {
  return key.export({ type: "spki", format: "der" });
}

function tried<T>(read: () => T, advice: string): T {
  try {
    return read();
  } catch (error) {
    throw unusable(reasonOf(error), advice);
  }
}

function unusable(reason: string, advice: string): SqlFailure {
  return new SqlFailure("denied", { cause: new Error(reason), advice });
}
