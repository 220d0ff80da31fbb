/** Every page that is made of the code, whole or in part. tests/unit/generated_docs_test.ts holds the files to it. */
import { brokerTable } from "./broker_table.ts";
import { configPage } from "./config_page.ts";
import { errorsPage } from "./errors_page.ts";
import { findingsPage } from "./findings_page.ts";
import { manPage } from "./man_page.ts";
import { metricsPage } from "./metrics_page.ts";
import { systemdTemplate } from "./systemd_template.ts";

export interface GeneratedPage {
  /** From the root of the repository. */
  readonly path: string;
  readonly text: string;
}

/** @param read Reads a file of the repository. */
export function generatedPages(read: (path: string) => string): GeneratedPage[] {
  const brokers = "docs/brokers/README.md";
  return [
    { path: "docs/reference/config.md", text: configPage(read("config.example.toml")) },
    { path: "docs/reference/metrics.md", text: metricsPage() },
    { path: "docs/reference/errors.md", text: errorsPage() },
    { path: "docs/reference/findings.md", text: findingsPage() },
    { path: "packaging/fervo-worker.1", text: manPage() },
    { path: "packaging/debian/fervo-worker@.service", text: systemdTemplate() },
    { path: brokers, text: withPart(read(brokers), "what brokers can do", brokerTable()) },
  ];
}

/**
 * The document with another text between `<!-- Begin: NAME … -->` and `<!-- End: NAME -->`.
 *
 * @throws {Error} when it has no such part
 */
function withPart(document: string, name: string, text: string): string {
  const [begin, end] = [
    `<!-- Begin: ${name}. Made of the code by: deno task docs -->`,
    `<!-- End: ${name} -->`,
  ];
  const from = document.indexOf(begin);
  const to = document.indexOf(end);
  if (from < 0 || to < from) throw new Error(`There is no part between ${begin} and ${end}`);
  return `${document.slice(0, from)}${begin}\n\n${text}\n\n${document.slice(to)}`;
}
