/** What a public forge reads of this repository: the CI workflow, the issue forms, the template of pull requests. */
import assert from "node:assert/strict";
import { BROKER_TYPES } from "../../src/brokers/mod.ts";
import { fervoWorkerOk } from "../support/fervo_worker.ts";

const ROOT = new URL("../../", import.meta.url).pathname;
const FORMS = `${ROOT}.github/ISSUE_TEMPLATE`;
const WORKFLOW = `${ROOT}.github/workflows/ci.yml`;

const read = (path: string) => Deno.readTextFileSync(path);

/** A file in YAML 1.1, as a YAML library reads it; `on` is the boolean true there. */
async function parseYaml(path: string) {
  const script = 'require "yaml"; require "json"; puts JSON.generate(YAML.safe_load_file(ARGV[0]))';
  const { code, stdout, stderr } = await new Deno.Command("ruby", { args: ["-e", script, path] }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

Deno.test("The CI workflow runs the command that .ci/run runs, on the Debians that CONTRIBUTING.md names", async () => {
  const { jobs: { test }, permissions, true: on } = await parseYaml(WORKFLOW);
  assert.deepEqual(permissions, { contents: "read" });
  assert.deepEqual(Object.keys(on).sort(), ["pull_request", "push", "schedule"]);
  assert.equal(test.container.image, "debian:${{ matrix.debian }}");
  const [, ...debians] = /Debian (\d+) or (\d+)/.exec(read(`${ROOT}CONTRIBUTING.md`))!;
  assert.deepEqual(test.strategy.matrix.debian, debians);
  const steps = test.steps as { readonly run?: string; readonly uses?: string; readonly if?: string }[];
  const last = steps.slice(-2).map(({ run, if: when }) => [when, run]);
  assert.deepEqual(last, [
    ["github.event_name != 'schedule'", "./scripts/test"],
    ["github.event_name == 'schedule'", "./scripts/test --all"],
  ]);
  assert.match(read(`${ROOT}.ci/run`), /^exec \.\/scripts\/test$/m);
  assert.match(read(`${ROOT}scripts/test`), /^--all\)/m);
});

Deno.test("Each action of the CI workflow is pinned to a commit, beside the version that this is", () => {
  const uses = [...read(WORKFLOW).matchAll(/^\s*-?\s*uses: (.*)$/gm)].map(([, action]) => action!);
  assert.ok(uses.length > 0);
  for (const action of uses) assert.match(action, /^[\w-]+\/[\w-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$/);
});

Deno.test("The forge is asked for newer commits of pinned actions", async () => {
  const { version, updates } = await parseYaml(`${ROOT}.github/dependabot.yml`);
  const asked = updates.map((
    update: Record<string, unknown>,
  ) => [update["package-ecosystem"], update["directory"]]);
  assert.deepEqual([version, asked], [2, [["github-actions", "/"]]]);
});

Deno.test("Each step of the CI workflow is a script that bash can read", async () => {
  const { jobs: { test: { steps } } } = await parseYaml(WORKFLOW);
  const scripts = (steps as { readonly run?: string }[]).flatMap(({ run }) => run ?? []);
  assert.ok(scripts.length > 2);
  for (const script of scripts) {
    const { code, stderr } = await new Deno.Command("bash", { args: ["-n", "-c", script] }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
  }
});

/** What an issue form may have, as the forge documents it. */
const FIELDS = ["markdown", "textarea", "input", "dropdown", "checkboxes"];

for (const { name: file } of [...Deno.readDirSync(FORMS)].filter(({ name }) => name !== "config.yml")) {
  Deno.test(`The issue form ${file} is one that a forge can show`, async () => {
    const { name, description, labels, body, ...rest } = await parseYaml(`${FORMS}/${file}`);
    assert.deepEqual(rest, {});
    assert.ok(name && description && labels.length > 0);
    const ids = body.flatMap(({ id }: { readonly id?: string }) => id ?? []);
    assert.deepEqual(ids, [...new Set(ids)]);
    for (const { type, id, attributes, ...more } of body) {
      assert.ok(FIELDS.includes(type), type);
      assert.ok(type === "markdown" ? attributes.value : id && attributes.label, `${type} ${id}`);
      assert.deepEqual(Object.keys(more).filter((key) => key !== "validations"), []);
      if (type === "dropdown") assert.ok(attributes.options.length > 1);
    }
  });
}

Deno.test("The issue form of bugs names every broker, and commands that there are", async () => {
  const { body } = await parseYaml(`${FORMS}/bug.yml`);
  const { attributes: { options } } = body.find(({ id }: { readonly id?: string }) => id === "broker");
  const drivers = [...new Set(BROKER_TYPES.map(({ driver }) => driver))];
  assert.deepEqual(options.slice(0, drivers.length), drivers);
  const commands = [...read(`${FORMS}/bug.yml`).matchAll(/`fervo-worker ([^`]+)`/g)].map(([, args]) => args!);
  assert.deepEqual(commands, ["--version --json", "check --json"]);
  const { version } = JSON.parse(await fervoWorkerOk(["--version", "--json"]));
  assert.match(version, /^\d/);
  assert.match(await fervoWorkerOk(["check", "--help"]), /--json/);
});

Deno.test("The template of pull requests names a command and files that there are", () => {
  const template = read(`${ROOT}.github/PULL_REQUEST_TEMPLATE.md`);
  assert.match(template, /`deno task ok`/);
  for (const path of ["CONTRIBUTING.md", "CHANGELOG.md", "docs/adr"]) {
    assert.ok(template.includes(path), path);
    assert.ok(Deno.statSync(`${ROOT}${path}`) !== undefined);
  }
});
