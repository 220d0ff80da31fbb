/** A larger limit is rounded up to a multiple of it. */
const MAX_EXACT = 64;

/** The LIMIT of a search for this many jobs, or for a few more: so there are few different statements to prepare. */
export function limitOf(room: number): number {
  return room <= MAX_EXACT ? room : Math.ceil(room / MAX_EXACT) * MAX_EXACT;
}

/** Parts of at most this size. */
export function* parts<T>(all: readonly T[], size: number): Generator<T[]> {
  for (let i = 0; i < all.length; i += size) yield all.slice(i, i + size);
}
