import { parseAddress } from "../src/fastcgi/address.ts";
import { RecordType } from "../src/fastcgi/record.ts";

/**
 * The ceiling of any FastCGI client on this runtime, with nothing around it, not even a clock: each connection writes
 * the request's bytes, made once, and reads until END_REQUEST is at the end of what came.
 */
export async function bareLoop(
  address: string,
  request: Uint8Array,
  options: { jobs: number; connections: number },
): Promise<void> {
  const target = parseAddress(address);
  let left = options.jobs;
  await Promise.all(Array.from({ length: options.connections }, async () => {
    using socket = target.transport === "unix"
      ? await Deno.connect({ transport: "unix", path: target.path })
      : await Deno.connect(target);
    const buffer = new Uint8Array(16_384);
    while (left-- > 0) {
      await socket.write(request);
      let bytes = await socket.read(buffer);
      // END_REQUEST is 16 bytes, and the last record of an answer.
      while (bytes !== null && buffer[bytes - 15] !== RecordType.endRequest) {
        bytes = await socket.read(buffer);
      }
      if (bytes === null) throw new Error("php-fpm closed the connection");
    }
  }));
}
