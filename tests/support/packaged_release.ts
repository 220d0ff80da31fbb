import deno from "../../deno.json" with { type: "json" };
import { fervoWorkerPath } from "./fervo_worker.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A folder with the files of a release, made of the binary of these tests; gone with its scope. */
export async function packagedRelease(): Promise<{ readonly folder: string } & AsyncDisposable> {
  await using made = new AsyncDisposableStack();
  const folder = await Deno.makeTempDir({ dir: "/var/tmp", prefix: "fervo-package-" });
  made.defer(() => Deno.remove(folder, { recursive: true }));
  await Deno.copyFile(fervoWorkerPath(), `${folder}/fervo-worker-${deno.version}-linux-x64`);
  const command = new Deno.Command(`${ROOT}scripts/package`, {
    args: [folder],
    // What takes long is to make the package small.
    env: { DPKG_DEB_COMPRESSOR_LEVEL: "0", FERVO_MAINTAINER: "A Person <person@example.org>" },
    stdin: "null",
  });
  const { success, stderr } = await command.output();
  if (!success) throw new Error(`scripts/package has failed: ${new TextDecoder().decode(stderr)}`);
  const resources = made.move();
  return { folder, [Symbol.asyncDispose]: () => resources.disposeAsync() };
}
