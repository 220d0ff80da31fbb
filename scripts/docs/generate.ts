/** Writes the pages, and parts of pages, that are made of the code. */
import { generatedPages } from "./pages.ts";

const ROOT = new URL("../../", import.meta.url);

for (const { path, text } of generatedPages((file) => Deno.readTextFileSync(new URL(file, ROOT)))) {
  Deno.writeTextFileSync(new URL(path, ROOT), text);
}
