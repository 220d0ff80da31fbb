/**
 * Prints what a binary is made of, as an SBOM in CycloneDX 1.6.
 *
 *   deno run -A scripts/release/sbom.ts BINARY TARGET < VERSION
 *
 * VERSION is what the binary, or one of another target of the same release, prints with `--version --json`. The time in it is
 * SOURCE_DATE_EPOCH, so that the same binary gives the same SBOM.
 */
import { createHash } from "node:crypto";
import { Buffer } from "node:buffer";
import { text } from "node:stream/consumers";
import process from "node:process";
import * as CDX from "@cyclonedx/cyclonedx-library";
import deno from "../../deno.json" with { type: "json" };
import { type Part, partsIn } from "../../src/cli/commands/licenses/notices.ts";
import { type RustCrate, rustCratesIn } from "../../src/system/rust_crates.ts";
import { type LockedPackage, lockedPackages, ROOT } from "./bundled_packages.ts";

const { Component, Bom, SpdxLicense, LicenseExpression, Property } = CDX.Models;
const { ComponentType, HashAlgorithm, ComponentScope } = CDX.Enums;
type Component = InstanceType<typeof Component>;

/** What a binary says of itself. */
interface Told {
  readonly version: string;
  readonly commit: string | null;
  readonly deno: string;
  readonly runtime: string | null;
}

export interface SbomSources {
  readonly binary: Uint8Array;
  /** As in the names of a release's files: "linux-x64". */
  readonly target: string;
  readonly told: Told;
  /** THIRD-PARTY-NOTICES. */
  readonly notices: string;
  readonly locked: ReadonlyMap<string, LockedPackage>;
  /** What the program itself imports, by "NAME@VERSION". */
  readonly direct: readonly string[];
  readonly time: Date;
}

/**
 * The SBOM, as text.
 *
 * @throws {Error} when a package of the notices is not in deno.lock, or the SBOM is not as CycloneDX 1.6 has to be
 */
export async function sbom(sources: SbomSources): Promise<string> {
  const { binary, target, told, locked } = sources;
  const parts = partsIn(sources.notices);
  const packages = new Map(
    parts.filter(({ version }) => version !== undefined).map((part) => {
      const key = `${part.name}@${part.version}`;
      const lockedPackage = locked.get(key);
      if (lockedPackage === undefined) throw new Error(`${key} is not in deno.lock`);
      return [key, { component: npmComponent(part, lockedPackage), lockedPackage }];
    }),
  );
  const runtime = runtimeComponent(told);
  const inRuntime = [
    ...parts.filter(({ name, version }) => version === undefined && name !== "Deno").map(partComponent),
    ...rustCratesIn(binary).map(crateComponent),
  ];

  const bom = new Bom();
  bom.metadata.timestamp = sources.time;
  const root = rootComponent(told, target, binary);
  bom.metadata.component = root;
  for (const { component } of packages.values()) bom.components.add(component);
  for (const component of [runtime, ...inRuntime]) bom.components.add(component);

  root.dependencies.add(runtime.bomRef);
  for (const key of sources.direct) {
    const found = packages.get(key);
    if (found !== undefined) root.dependencies.add(found.component.bomRef);
  }
  for (const { component, lockedPackage } of packages.values()) {
    for (const dependency of lockedPackage.dependencies) {
      const key = [...packages.keys()].find((key) =>
        key === dependency || key.replace(/@[^@]+$/, "") === dependency
      );
      if (key !== undefined) component.dependencies.add(packages.get(key)!.component.bomRef);
    }
  }
  for (const { bomRef } of inRuntime) runtime.dependencies.add(bomRef);
  return await serialized(bom);
}

async function serialized(bom: InstanceType<typeof Bom>): Promise<string> {
  const normalizers = new CDX.Serialize.JSON.Normalize.Factory(CDX.Spec.Spec1dot6);
  const json = new CDX.Serialize.JsonSerializer(normalizers).serialize(bom, { sortLists: true, space: 2 });
  const problem = await validate(json);
  if (problem !== null) throw new Error(`The SBOM is not CycloneDX 1.6: ${JSON.stringify(problem)}`);
  return `${json}\n`;
}

/** What keeps a text from being CycloneDX 1.6; null when it is. */
export function validate(json: string): Promise<unknown> {
  return new CDX.Validation.JsonStrictValidator(CDX.Spec.Version.v1dot6).validate(json);
}

function rootComponent({ version, commit }: Told, target: string, binary: Uint8Array): Component {
  const component = new Component(ComponentType.Application, "fervo-worker", {
    version,
    bomRef: "fervo-worker",
  });
  component.licenses.add(new SpdxLicense(deno.license));
  component.hashes.set(HashAlgorithm["SHA-256"], createHash("sha256").update(binary).digest("hex"));
  component.properties.add(new Property("fervo-worker:target", target));
  if (commit !== null) component.properties.add(new Property("fervo-worker:commit", commit));
  return component;
}

function npmComponent(part: Part, { name, version, integrity }: LockedPackage): Component {
  const [group, bare] = name.startsWith("@") ? name.split("/") as [string, string] : [undefined, name];
  const purl = `pkg:npm/${name.replace("@", "%40")}@${version}`;
  const component = new Component(ComponentType.Library, bare, {
    ...(group !== undefined && { group }),
    version,
    purl,
    bomRef: purl,
    scope: ComponentScope.Required,
  });
  const [, sha512] = /^sha512-(.+)$/.exec(integrity) ?? [];
  if (sha512 === undefined) throw new Error(`${name}@${version} has no SHA-512 in deno.lock`);
  component.hashes.set(HashAlgorithm["SHA-512"], Buffer.from(sha512, "base64").toString("hex"));
  addLicense(component, part.license);
  return component;
}

function runtimeComponent({ deno: version, runtime }: Told): Component {
  const purl = `pkg:github/denoland/deno@v${version}`;
  const component = new Component(ComponentType.Platform, "deno", { version, purl, bomRef: purl });
  addLicense(component, "MIT");
  // How the binary says where its runtime comes from; "official" in a release.
  if (runtime !== null) component.properties.add(new Property("fervo-worker:runtime", runtime));
  return component;
}

/** A part of the runtime whose version is not known. */
function partComponent({ name, license }: Part): Component {
  const component = new Component(ComponentType.Library, name, { bomRef: `runtime:${name}` });
  addLicense(component, license);
  return component;
}

function crateComponent({ name, version }: RustCrate): Component {
  const purl = `pkg:cargo/${name}@${encodeURIComponent(version)}`;
  return new Component(ComponentType.Library, name, { version, purl, bomRef: purl });
}

function addLicense(component: Component, license: string): void {
  component.licenses.add(license.includes(" ") ? new LicenseExpression(license) : new SpdxLicense(license));
}

/** The packages that deno.json imports, by "NAME@VERSION". */
export function directPackages(): string[] {
  return Object.values(deno.imports).map((specifier) => specifier.replace(/^npm:/, ""));
}

if (import.meta.main) {
  const [path, target] = Deno.args;
  const epoch = Deno.env.get("SOURCE_DATE_EPOCH");
  if (path === undefined || target === undefined || epoch === undefined) {
    throw new Error("usage: SOURCE_DATE_EPOCH=… sbom.ts BINARY TARGET < VERSION");
  }
  process.stdout.write(
    await sbom({
      binary: await Deno.readFile(path),
      target,
      told: JSON.parse(await text(process.stdin)),
      notices: await Deno.readTextFile(`${ROOT}THIRD-PARTY-NOTICES`),
      locked: await lockedPackages(),
      direct: directPackages(),
      time: new Date(Number(epoch) * 1000),
    }),
  );
}
