import assert from "node:assert/strict";
import { MYSQL, POSTGRES } from "../../../../src/brokers/rows/config/fervo.ts";

Deno.test(
  "The url of a database is refused with the reason, and never shown",
  { permissions: "none" },
  () => {
    const cases = [
      [POSTGRES, "postgres://jobs:hidden@db/shop?sslmode=require", /; set tls = true instead of sslmode$/],
      [POSTGRES, "mysql://jobs:hidden@db/shop", /; for this address set driver = "mysql"$/],
      [MYSQL, "postgres://jobs:hidden@db/shop", /; for this address set driver = "postgres"$/],
      [MYSQL, "mysql://jobs:hidden@db", /; .*database/],
      [POSTGRES, "http://jobs:hidden@db/shop", /; it must begin with postgres:\/\//],
      [POSTGRES, "postgres:///shop?socket=/run/hidden", /; its only parameter can be host/],
    ] as const;
    for (const [{ options: { url } }, text, reason] of cases) {
      assert.ok(!url.isValid(text));
      const told = typeof url.expected === "string" ? url.expected : url.expected(text);
      assert.match(told, /^expected the address of a database, such as ".*"; /);
      assert.match(told, reason);
      assert.doesNotMatch(told, /hidden/);
    }
  },
);
