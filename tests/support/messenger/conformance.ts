import { messages } from "./cases.ts";
import { compare } from "./comparison.ts";
import { consumeByFervoWorker, consumeByMessenger } from "./consume.ts";
import { type DatabaseKind, startDatabases } from "./databases.ts";
import { knownDifferences } from "./known_differences.ts";
import type { SymfonyVersion } from "./messenger_app.ts";
import { Trial } from "./trial.ts";

/**
 * Dispatches the same messages into two equal databases, has them run by `messenger:consume` and by fervo-worker, and compares what
 * has become of them. The application of messenger:consume does not have the bundle.
 *
 * @returns What is wrong, one text each.
 */
export async function problemsOf(
  kind: DatabaseKind,
  symfony: SymfonyVersion,
  count: 300 | "one of each",
): Promise<string[]> {
  await using databases = await startDatabases(kind);
  await using theirs = await Trial.create(databases, { symfony, hasBundle: false });
  await using ours = await Trial.create(databases, { symfony, hasBundle: true });
  const list = messages(count);
  await Promise.all([
    // Two processes that consume from one file of SQLite make each other fail with "database is locked".
    theirs.dispatch(list).then(() => consumeByMessenger(theirs, kind === "sqlite" ? 1 : 2)),
    ours.dispatch(list).then(() => consumeByFervoWorker(ours)),
  ]);
  return compare(await theirs.stories(), await ours.stories(), knownDifferences(symfony));
}
