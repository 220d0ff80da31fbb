import { killsPhp, messages } from "./cases.ts";
import { compare, isOf } from "./comparison.ts";
import { consumeByFervoWorker, consumeByMessenger } from "./consume.ts";
import { type DatabaseKind, startDatabases } from "./databases.ts";
import { knownDifferences } from "./known_differences.ts";
import { type SymfonyVersion, versionOf } from "./messenger_app.ts";
import { Trial } from "./trial.ts";

/**
 * Dispatches the same messages into two equal databases, has them run by `messenger:consume` and by fervo-worker, and compares what
 * has become of them. The application of messenger:consume does not have the bundle.
 *
 * @param batchSize With more than 1 there are no messages that kill PHP: those that a batch handler holds at that moment share the
 * fate, and which ones these are is chance.
 * @returns What is wrong, one text each.
 */
export async function problemsOf(
  kind: DatabaseKind,
  symfony: SymfonyVersion,
  count: 300 | "one of each",
  batchSize = 1,
): Promise<string[]> {
  await using databases = await startDatabases(kind);
  await using theirs = await Trial.create(databases, { symfony, hasBundle: false });
  await using ours = await Trial.create(databases, { symfony, hasBundle: true });
  const list = messages(count).filter((message) => batchSize === 1 || !killsPhp(message));
  await Promise.all([
    // A file of SQLite has one writer at a time.
    theirs.dispatch(list).then(() => consumeByMessenger(theirs, kind === "sqlite" ? 1 : 2)),
    ours.dispatch(list).then(() => consumeByFervoWorker(ours, batchSize)),
  ]);
  const known = knownDifferences(await versionOf(symfony))
    .filter((one) => !("of" in one) || list.some(({ name }) => isOf(one, name)));
  return compare(await theirs.stories(), await ours.stories(), known);
}
