// Loaded when a connection is made. A file of its own, because a dynamic import of a package has other exports once it is bundled.
export { default as postgres, type Options, type Sql } from "postgres";
