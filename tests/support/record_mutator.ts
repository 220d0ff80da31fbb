import { concat } from "./scripted_server.ts";
import type { SeededRandom } from "./seeded_random.ts";

/** Values at which lengths, types and ids change their meaning. */
const EDGES = [0, 1, 2, 3, 6, 7, 8, 10, 11, 0x7f, 0x80, 0xff];

/** One change to a stream of records; `other` is the stream to splice with. */
type Mutation = (stream: Uint8Array, random: SeededRandom, other: Uint8Array) => Uint8Array;

const MUTATIONS: readonly Mutation[] = [
  // A bit, anywhere.
  (stream, random) => patched(stream, random, (byte) => byte ^ (1 << random.below(8))),
  // A byte, anywhere.
  (stream, random) => patched(stream, random, () => random.below(256)),
  // A byte that means something, in a record's header.
  (stream, random) => {
    const headers = headerOffsets(stream);
    if (headers.length === 0) return stream;
    const changed = stream.slice();
    changed[random.pick(headers) + random.below(8)] = random.pick(EDGES);
    return changed;
  },
  // The end is missing.
  (stream, random) => stream.slice(0, random.below(stream.length + 1)),
  // The beginning is missing.
  (stream, random) => stream.slice(random.below(stream.length + 1)),
  // A part comes twice, there or elsewhere.
  (stream, random) => {
    const [from, to] = range(stream, random);
    const at = random.below(2) === 0 ? to : random.below(stream.length + 1);
    return concat(stream.subarray(0, at), stream.subarray(from, to), stream.subarray(at));
  },
  // A part is missing.
  (stream, random) => {
    const [from, to] = range(stream, random);
    return concat(stream.subarray(0, from), stream.subarray(to));
  },
  // Something foreign is in it.
  (stream, random) => {
    const at = random.below(stream.length + 1);
    return concat(stream.subarray(0, at), random.bytes(random.below(20)), stream.subarray(at));
  },
  // Another stream goes on where this one ends.
  (stream, random, other) =>
    concat(
      stream.subarray(0, random.below(stream.length + 1)),
      other.subarray(random.below(other.length + 1)),
    ),
];

/** A stream made of valid ones by one to four changes. It may be valid still. */
export function mutated(corpus: readonly Uint8Array[], random: SeededRandom): Uint8Array {
  let stream = random.pick(corpus).slice();
  for (let left = 1 + random.below(4); left > 0; left--) {
    stream = random.pick(MUTATIONS)(stream, random, random.pick(corpus)).slice();
  }
  return stream;
}

/** The stream in pieces, cut anywhere; some are empty. */
export function cutAnywhere(stream: Uint8Array, random: SeededRandom): Uint8Array[] {
  const chunks: Uint8Array[] = [];
  const mostBytes = random.pick([1, 3, 9, 70, 100_000]);
  for (let at = 0; at < stream.length;) {
    const end = Math.min(stream.length, at + random.below(mostBytes + 1));
    chunks.push(stream.slice(at, end));
    at = end;
  }
  return chunks;
}

function patched(stream: Uint8Array, random: SeededRandom, change: (byte: number) => number): Uint8Array {
  if (stream.length === 0) return stream;
  const changed = stream.slice();
  const at = random.below(stream.length);
  changed[at] = change(changed[at]!);
  return changed;
}

function range(stream: Uint8Array, random: SeededRandom): [from: number, to: number] {
  const from = random.below(stream.length + 1);
  return [from, from + random.below(stream.length - from + 1)];
}

/** Where the records begin, as far as the stream can be followed. */
function headerOffsets(stream: Uint8Array): number[] {
  const offsets: number[] = [];
  for (let at = 0; at + 8 <= stream.length;) {
    offsets.push(at);
    at += 8 + (stream[at + 4]! << 8) + stream[at + 5]! + stream[at + 6]!;
  }
  return offsets;
}
