/** A configuration is the same one, with the same queue and the same worker, by whatever path it is named. */
import assert from "node:assert/strict";
import { fervoWorker, fervoWorkerOk, Site } from "../../support/fervo_worker.ts";

const RELATIVE = { broker: { path: "queue.sqlite" } };

function jobsIn(site: Site): unknown {
  return site.queueRows("SELECT count(*) AS jobs FROM fervo_jobs")[0]!["jobs"];
}

Deno.test("A configuration that is named by a link has the queue and the worker of its file", async () => {
  await using site = await Site.create(undefined, RELATIVE);
  const { directory } = site;
  await Deno.mkdir(`${directory}/etc/real`, { recursive: true });
  await Deno.symlink(`${directory}/etc/real`, `${directory}/linked`);
  const links: [link: string, target: string][] = [
    ["etc/absolute.toml", site.configFile],
    ["etc/relative.toml", "../fervo-worker.toml"],
    ["etc/beside.toml", "relative.toml"],
    // Two folders up from where the folder is, not from where its link is.
    ["linked/up.toml", "../../fervo-worker.toml"],
  ];
  await using worker = site.start(["run"]);
  await worker.says("Consumer started");
  await site.runOk(["pause", "jobs"]);
  for (const [count, [link, target]] of links.entries()) {
    await Deno.symlink(target, `${directory}/${link}`);
    const config = ["--config", link];
    await fervoWorkerOk(["push", "jobs", "x", ...config], { cwd: directory });
    assert.equal(jobsIn(site), count + 1, link);
    const { pid } = JSON.parse(await fervoWorkerOk(["status", "--json", ...config], { cwd: directory }));
    assert.equal(pid, worker.pid, link);
  }
});

Deno.test("A configuration that is named by a folder's link stays there when the link leads to the next release", async () => {
  await using site = await Site.create(undefined, RELATIVE);
  const { directory } = site;
  const [current, link] = [`${directory}/current`, `${directory}/link.toml`];
  await Deno.symlink(`${current}/fervo-worker.toml`, link);
  for (const release of ["1", "2"]) {
    await Deno.mkdir(`${directory}/${release}`);
    await Deno.copyFile(site.configFile, `${directory}/${release}/fervo-worker.toml`);
    await Deno.remove(current).catch(() => {});
    await Deno.symlink(release, current);
    await fervoWorkerOk(["push", "jobs", "x", "--config", link]);
    const [{ ready }] = JSON.parse(
      await fervoWorkerOk(["queues", "--json", "--config", `${current}/fervo-worker.toml`]),
    );
    assert.equal(ready, 1, `release ${release} has a queue of its own`);
  }
});

Deno.test("A configuration that comes by a pipe counts as one in the current folder", async () => {
  await using site = await Site.create(undefined, { ...RELATIVE, process: { command: ["true"] } });
  const options = { cwd: site.directory, shell: '"$@" --config <(cat fervo-worker.toml)' };
  await fervoWorkerOk(["push", "jobs", "x"], options);
  assert.equal(jobsIn(site), 1);
  const { stdout } = await fervoWorker(["check"], options);
  assert.match(stdout, new RegExp(`"${site.directory}/fervo-worker.sock"`));
  assert.doesNotMatch(stdout, /\/dev\/fd|ERROR/);
  await fervoWorkerOk(["run", "--until-empty"], options);
  assert.equal(jobsIn(site), 0);
});
