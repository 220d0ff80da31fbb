import assert from "node:assert/strict";
import { SQLITE } from "../../../src/brokers/sqlite/config.ts";
import { FRAMEWORK } from "../../support/framework_format.ts";
import { BROKER, CONSUMER, FPM, problemsIn, PROCESS } from "./support.ts";

const TYPES = [{ ...SQLITE, formats: { ...SQLITE.formats, framework: FRAMEWORK } }];
const FRAMEWORKS = `${BROKER}format = "framework"\n`;
const problems = (text: string) => problemsIn(text, {}, TYPES);

Deno.test("A framework's messages are refused where PHP could not take them up, or their deaths could not be told", async () => {
  assert.deepEqual(await problems(`${FRAMEWORKS}${PROCESS}${CONSUMER}executor = "process"\n`), [
    'fervo.toml:9:1: a process cannot run messages of the format "framework", which their framework reads: set ' +
    'executor = "fastcgi"',
  ]);
  const inParam = `${CONSUMER}ack_on = "status"\npayload_param = "DATA"\n`;
  assert.deepEqual(await problems(`${FRAMEWORKS}${FPM}${inParam}`), [
    'fervo.toml:5:1: consumers of messages of the format "framework" need kill_on_timeout = true: the worker reports a job that ' +
    "timed out to its framework only after the PHP process of the job has ended",
    'fervo.toml:10:1: an HTTP status cannot report messages of the format "framework": remove ack_on',
    'fervo.toml:11:1: messages of the format "framework" go on STDIN: remove payload_param',
  ]);
  const fpm = `${FPM}status_path = "/status"\nkill_on_timeout = true\n`;
  assert.deepEqual(await problems(`${FRAMEWORKS}${fpm}${CONSUMER}`), []);
  assert.deepEqual(await problems(`${BROKER}${PROCESS}${CONSUMER}executor = "process"\n`), []);
});
