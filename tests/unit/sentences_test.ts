import assert from "node:assert/strict";
import { sentencesOf } from "../../scripts/docs/sentences.ts";

Deno.test("sentencesOf() finds those of paragraphs, lists and tables, and none in code, headings, contents and comments", () => {
  const page = `# A heading that is no sentence

- [A chapter of this page](#a-chapter-of-this-page)

<!-- Not a sentence of the page. -->
The first sentence has \`e.g.\` code in it. The second goes on
in the next line. \`fervo-worker\` can begin a sentence, too.

- A point of a list (with a remark.) Another sentence of it.
- The second point of it.

  \`\`\`sh
  this is not a sentence. At all.
  \`\`\`

| a column's heading of words | what it is               |
| --------------------------- | ------------------------ |
| short                       | A cell of a table's row. |
`;
  assert.deepEqual(sentencesOf(page), [
    "The first sentence has `e.g.` code in it.",
    "The second goes on in the next line.",
    "`fervo-worker` can begin a sentence, too.",
    "A point of a list (with a remark.)",
    "Another sentence of it.",
    "The second point of it.",
    "a column's heading of words",
    "A cell of a table's row.",
  ]);
});
