/** How this user gets a mount namespace of its own, as the beginning of a command; undefined where this machine permits none. */
export async function mountNamespace(): Promise<string[] | undefined> {
  for (const command of [["unshare", "--mount"], ["unshare", "--map-root-user", "--mount"]]) {
    const probe = `mount -t tmpfs none /tmp`;
    const { success } = await new Deno.Command(command[0]!, {
      args: [...command.slice(1), "sh", "-c", probe],
      stdout: "null",
      stderr: "null",
    }).output().catch(() => ({ success: false }));
    if (success) return command;
  }
  return undefined;
}
