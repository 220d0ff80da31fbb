import { type AST, parseTOML } from "toml-eslint-parser";
import type { Path } from "./problems.ts";

/** Where something begins in a text, both counted from 1. */
export interface Position {
  readonly line: number;
  readonly column: number;
}

/** Finds what a path names; where the text does not hold it, the innermost table or list around it that it does hold. */
export type Locator = (path: Path) => Position;

/**
 * Reads where each key of a TOML text stands. A table stands at its header's bracket, a key of a table that has several
 * parts (`a.b = 1`) at its own part, an element of a list at its value.
 *
 * This loads a second TOML parser and is for texts with a problem only.
 */
export function locateKeys(text: string): Locator {
  const positions = new Map<string, Position>();
  try {
    for (const node of parseTOML(text, { tomlVersion: "1.1" }).body[0].body) {
      if (node.type === "TOMLTable") addTable(node, positions);
      else addKeyValue(node, [], positions);
    }
  } catch {
    // The other parser took it, and the values come from there: problems without a line are better than none.
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

/** A table that is only mentioned on the way to another stands where it is mentioned first. */
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
