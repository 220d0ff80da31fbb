import { parseAddress } from "../src/fastcgi/address.ts";
import { ParamsWriter } from "../src/fastcgi/params.ts";
import { encodeRecord, RecordType } from "../src/fastcgi/record.ts";

/**
 * The ceiling of any FastCGI client on this runtime: the request's bytes are made once, each connection writes them and
 * reads until END_REQUEST is at the end of what came, with no codec, no checks and no queue.
 */
export async function rawLoop(
  address: string,
  script: string,
  body: Uint8Array,
  options: { jobs: number; connections: number },
): Promise<void> {
  const target = parseAddress(address);
  const request = requestBytes(script, body);
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

function requestBytes(script: string, body: Uint8Array): Uint8Array {
  const params = new ParamsWriter(1);
  params.add("REQUEST_METHOD", "POST");
  params.add("SCRIPT_FILENAME", script);
  params.add("CONTENT_LENGTH", String(body.length));
  const keepConnection = new Uint8Array([0, 1, 1, 0, 0, 0, 0, 0]);
  const records = [
    encodeRecord(RecordType.beginRequest, 1, keepConnection),
    params.bytes().slice(),
    encodeRecord(RecordType.params, 1),
    encodeRecord(RecordType.stdin, 1, body),
    encodeRecord(RecordType.stdin, 1),
  ];
  return new Uint8Array(records.flatMap((record) => [...record]));
}
