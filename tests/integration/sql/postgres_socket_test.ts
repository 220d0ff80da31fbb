/** What the library does to the socket that the driver of PostgreSQL gives to it. */
import { Socket } from "node:net";
import { POSTGRES } from "../../../src/sql/postgres.ts";
import { PostgresServer } from "../../support/postgres_server.ts";
import { soon } from "../../support/soon.ts";
import { openSql } from "../../support/sql_client.ts";

Deno.test("an error of the socket that comes after its end does not end the process", async () => {
  await using server = await PostgresServer.start({ tcp: true });
  const sockets: Socket[] = [];
  const { connect } = Socket.prototype;
  Socket.prototype.connect = function (this: Socket, ...args: unknown[]) {
    sockets.push(this);
    return Reflect.apply(connect, this, args);
  };
  try {
    await using opened = await openSql(POSTGRES, server.address, {
      username: "postgres",
      database: "postgres",
    });
    await server.kill();
    await soon("the loss is reported", opened.lost);
    // As the runtime emits it for a write that was under way; without a listener it throws.
    for (const socket of sockets) socket.emit("error", new Error("write UNKNOWN"));
  } finally {
    Socket.prototype.connect = connect;
  }
});
