import assert from "node:assert/strict";
import { writtenSecrets } from "../../../src/config/secrets.ts";

Deno.test("writtenSecrets() names the keys whose secrets stand in the file", { permissions: "none" }, () => {
  const text = `
[http]
token = "0123456789abcdef"
[tracing.headers]
Authorization = "Bearer x"
accept = "*/*"
[brokers.a]
driver = "redis"
password = "x"
[brokers.b]
url = "rediss://:x@host/0"
[brokers.c]
url = "redis://host:6379/0"
sentinel_password = "pre\${REST}"
[fpm.default.params]
APP_SECRET = "x"
DATABASE_URL = "mysql://user:x@db/app"
APP_ENV = "prod"
`;
  assert.deepEqual(writtenSecrets(text), [
    "http.token",
    "tracing.headers.Authorization",
    "brokers.a.password",
    "brokers.b.url",
    "brokers.c.sentinel_password",
    "fpm.default.params.APP_SECRET",
    "fpm.default.params.DATABASE_URL",
  ]);
});

Deno.test("writtenSecrets() leaves out what comes from the environment or from a file", {
  permissions: "none",
}, () => {
  const text = `
[http]
token = "\${TOKEN}"
token_file = "/etc/token"
[brokers.a]
password = ""
password_file = "/etc/password"
url = "redis://user:\${PASSWORD}@host/0"
`;
  assert.deepEqual(writtenSecrets(text), []);
});
