/** fervo-worker that knows a framework's messages in the embedded queue, for tests that kill it. */
import { SQLITE } from "../../src/brokers/sqlite/config.ts";
import { processIo } from "../../src/cli/io.ts";
import { main } from "../../src/cli/main.ts";
import { FRAMEWORK } from "./framework_format.ts";

const type = { ...SQLITE, formats: { ...SQLITE.formats, framework: FRAMEWORK } };
Deno.exit(await main(Deno.args, processIo, [type]));
