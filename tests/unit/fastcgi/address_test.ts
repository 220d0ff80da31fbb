import assert from "node:assert/strict";
import fc from "fast-check";
import { formatAddress, parseAddress } from "../../../src/fastcgi/address.ts";

const READABLE: [text: string, address: ReturnType<typeof parseAddress>, formatted: string][] = [
  ["/run/php/fpm.sock", { transport: "unix", path: "/run/php/fpm.sock" }, "/run/php/fpm.sock"],
  ["unix:/run/php/fpm.sock", { transport: "unix", path: "/run/php/fpm.sock" }, "/run/php/fpm.sock"],
  ["unix:///run/php/fpm.sock", { transport: "unix", path: "/run/php/fpm.sock" }, "/run/php/fpm.sock"],
  ["/with a space:9000", { transport: "unix", path: "/with a space:9000" }, "/with a space:9000"],
  ["127.0.0.1:9000", { transport: "tcp", hostname: "127.0.0.1", port: 9000 }, "127.0.0.1:9000"],
  ["tcp://fpm:9000", { transport: "tcp", hostname: "fpm", port: 9000 }, "fpm:9000"],
  [
    "php-fpm.internal:65535",
    { transport: "tcp", hostname: "php-fpm.internal", port: 65_535 },
    "php-fpm.internal:65535",
  ],
  ["[::1]:9000", { transport: "tcp", hostname: "::1", port: 9000 }, "[::1]:9000"],
  ["tcp://[fe80::1]:1", { transport: "tcp", hostname: "fe80::1", port: 1 }, "[fe80::1]:1"],
];

for (const [text, address, formatted] of READABLE) {
  Deno.test(`parseAddress() reads ${JSON.stringify(text)}, and formatAddress() writes it`, () => {
    assert.deepEqual(parseAddress(text), address);
    assert.equal(formatAddress(address), formatted);
  });
}

const UNREADABLE = [
  "",
  "fpm.sock",
  "unix:fpm.sock",
  "127.0.0.1",
  "127.0.0.1:",
  ":9000",
  "fpm:0",
  "fpm:65536",
  "fpm:123456",
  "fpm:-1",
  "fpm:9000/path",
  "http://fpm:9000",
  "::1:9000",
  "[::1]",
  "a b:9000",
  "fpm:9000\n",
];

for (const text of UNREADABLE) {
  Deno.test(`parseAddress() refuses ${JSON.stringify(text)} and quotes it`, () => {
    assert.throws(() => parseAddress(text), (error: unknown) => {
      assert.ok(error instanceof TypeError);
      assert.ok(
        error.message.startsWith(`Cannot read the address "${text}": expected `),
        error.message,
      );
      return true;
    });
  });
}

Deno.test("parseAddress() reads back what formatAddress() wrote, for any host, port and path", () => {
  const anyAddress = fc.oneof(
    fc.record({
      transport: fc.constant("tcp" as const),
      hostname: fc.oneof(fc.domain(), fc.ipV4(), fc.ipV6()),
      port: fc.integer({ min: 1, max: 65_535 }),
    }),
    fc.string().map((path) => ({ transport: "unix" as const, path: `/${path}` })),
  );
  fc.assert(fc.property(anyAddress, (address) => {
    assert.deepEqual(parseAddress(formatAddress(address)), { ...address });
  }));
});
