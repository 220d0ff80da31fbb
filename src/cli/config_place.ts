import { dirname, isAbsolute, join } from "node:path";

/** As many links in a row as Linux follows. */
const MOST_LINKS = 40;

/**
 * Where the configuration is that a path names. Its relative paths begin there, and its control socket is there.
 *
 * 1. A link to the file is followed: one configuration means one queue and one worker, by whatever link it is named. Folders
 *    stay as they are named, links or not: `current` of a deployment leads to the next release, too.
 * 2. What comes by a pipe, as of the shell's `<(…)`, is in no folder: it counts as `pipe` instead.
 *
 * A path that cannot be looked at is its own place: whoever reads the file tells why it cannot be read.
 *
 * @param pipe The path that a configuration from a pipe counts as.
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
  // Up from a folder that is a link is up from where that folder is.
  const isUp = target.split("/").includes("..");
  return join(isUp ? Deno.realPathSync(dirname(link)) : dirname(link), target);
}
