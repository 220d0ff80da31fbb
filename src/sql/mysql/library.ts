// Loaded when a connection is made. A file of its own, because a dynamic import of a package has other exports once it is bundled.
import mysql from "mysql2";

export type { Connection, ConnectionOptions, FieldPacket } from "mysql2";
// Of the default export, because TypedParameter is a getter: an import by name does not see it.
export const { createConnection, TypedParameter } = mysql;
