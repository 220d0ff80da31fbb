import { dirname, isAbsolute, join } from "node:path";

/** As many links in a row as Linux follows. */
const MOST_LINKS = 40;

/**
 * The place of the configuration at a path. Its relative paths begin there, and so does its control socket.
 *
 * 1. A link to the file is followed: one configuration means one queue and one worker, whatever link names it. Folders stay as
 *    named, links or not: `current` of a deployment leads to the next release, too.
 * 2. A configuration from a pipe, as of the shell's `<(…)`, is in no folder: it counts as `pipe` instead.
 *
 * An unreadable path is its own place: the reader of the file reports the reason.
 *
 * @param pipe The path of a configuration from a pipe.
 */
export function configPlace(path: string, pipe: string): string {
  let place = path;
  try {
    const { isFile, isDirectory } = Deno.statSync(path);
    if (!isFile) return isDirectory ? path : pipe;
    for (let links = 0; links < MOST_LINKS && Deno.lstatSync(place).isSymlink; links++) {
      place = targetOf(place);
    }
    return place;
  } catch {
    return path;
  }
}

function targetOf(link: string): string {
  const target = Deno.readLinkSync(link);
  if (isAbsolute(target)) return target;
  // Up from a folder that is a link leads up from the real folder.
  const isUp = target.split("/").includes("..");
  return join(isUp ? Deno.realPathSync(dirname(link)) : dirname(link), target);
}
