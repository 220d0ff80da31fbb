/**
 * Runs statements in a server's own client.
 *
 * @param command The client with its arguments; it reads from standard input.
 * @returns What it wrote, without the newline at the end.
 * @throws {Error} when a statement fails, with what the server said.
 */
export async function runSql(command: readonly string[], text: string): Promise<string> {
  const [program, ...args] = command;
  const child = new Deno.Command(program!, { args, stdin: "piped", stdout: "piped", stderr: "piped" })
    .spawn();
  // The client ends before it has read all when it cannot connect.
  const written = new Response(text).body!.pipeTo(child.stdin).catch(() => {});
  const [{ success, stdout, stderr }] = await Promise.all([child.output(), written]);
  const utf8 = new TextDecoder();
  if (!success) throw new Error(utf8.decode(stderr).trim());
  return utf8.decode(stdout).replace(/\n$/, "");
}

/** A name for a database that no other test uses. */
export function databaseName(): string {
  return `test_${crypto.randomUUID().replaceAll("-", "").slice(0, 16)}`;
}
