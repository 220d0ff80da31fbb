import type { Config } from "../../../config/config.ts";
import { writtenSecrets } from "../../../config/secrets.ts";
import type { Finding } from "../../../core/finding.ts";
import { checkSecretFile, checkWritable } from "../../../doctor/access.ts";

/** Whether other users can read files with secrets, or change the configuration. */
export async function* secretFindings(
  config: Config,
  file: string,
): AsyncGenerator<readonly [subject: string, findings: readonly Finding[]]> {
  const secrets = await secretsIn(file);
  yield ["configuration", [
    ...present(await checkWritable(file)),
    ...(secrets.length > 0 ? present(await checkSecretFile(file, secrets.join(", "))) : []),
  ]];
  const tokenFile = config.http?.tokenFile;
  if (tokenFile !== undefined) yield ["http", present(await checkSecretFile(tokenFile, "the token"))];
  for (const [name, broker] of config.brokers) {
    for (const { path, what } of broker.type.secretFiles?.(broker.settings) ?? []) {
      yield [`brokers.${name}`, present(await checkSecretFile(path, what))];
    }
  }
}

/** None of a pipe, which can be read only once. */
async function secretsIn(file: string): Promise<string[]> {
  const isFile = await Deno.stat(file).then((found) => found.isFile, () => false);
  return isFile ? writtenSecrets(await Deno.readTextFile(file)) : [];
}

function present(finding: Finding | undefined): Finding[] {
  return finding === undefined ? [] : [finding];
}
