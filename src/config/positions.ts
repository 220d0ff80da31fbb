import { type AST, parseTOML } from "toml-eslint-parser";
import type { Path } from "./problems.ts";

/** A place in a text, both numbers from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Finds the place of a path; if the text does not have it, the place of the innermost table or list around it. */
export type Locator = (path: Path) => Position;

/**
 * Finds the place of each key in a TOML text. A table is at its header's bracket, a key with several parts (`a.b = 1`) at its
 * own part, an element of a list at its value.
 *
 * It loads a second TOML parser, and is only for texts with a problem.
 */
export function locateKeys(text: string): Locator {
  const positions = new Map<string, Position>();
  try {
    for (const node of parseTOML(text, { tomlVersion: "1.1" }).body[0].body) {
      if (node.type === "TOMLTable") addTable(node, positions);
      else addKeyValue(node, [], positions);
    }
  } catch {
    // The other parser accepted it, and the values come from there: problems without a line are better than none.
  }
  return (path) => {
    for (let length = path.length; length > 0; length--) {
      const position = positions.get(keyOf(path.slice(0, length)));
      if (position !== undefined) return position;
    }
    return { line: 1, column: 1 };
  };
}

function addTable(table: AST.TOMLTable, positions: Map<string, Position>): void {
  const bracket = startOf(table);
  for (let length = 1; length < table.resolvedKey.length; length++) {
    addFirst(table.resolvedKey.slice(0, length), bracket, positions);
  }
  positions.set(keyOf(table.resolvedKey), bracket);
  for (const node of table.body) addKeyValue(node, table.resolvedKey, positions);
}

function addKeyValue(node: AST.TOMLKeyValue, table: Path, positions: Map<string, Position>): void {
  let path = table;
  for (const part of node.key.keys) {
    path = [...path, part.type === "TOMLBare" ? part.name : part.value];
    addFirst(path, startOf(part), positions);
  }
  addValue(node.value, path, positions);
}

function addValue(node: AST.TOMLContentNode, path: Path, positions: Map<string, Position>): void {
  if (node.type === "TOMLInlineTable") {
    for (const inner of node.body) addKeyValue(inner, path, positions);
  } else if (node.type === "TOMLArray") {
    node.elements.forEach((element, index) => {
      addFirst([...path, index], startOf(element), positions);
      addValue(element, [...path, index], positions);
    });
  }
}

/** A table that is only mentioned on the way to another one is at its first mention. */
function addFirst(path: Path, position: Position, positions: Map<string, Position>): void {
  const key = keyOf(path);
  if (!positions.has(key)) positions.set(key, position);
}

/** The parser counts columns from 0. */
function startOf(node: AST.TOMLNode): Position {
  return { line: node.loc.start.line, column: node.loc.start.column + 1 };
}

function keyOf(path: Path): string {
  return JSON.stringify(path);
}
