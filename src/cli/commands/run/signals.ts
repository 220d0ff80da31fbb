/** The signals that end a command. */
export const STOP_SIGNALS = ["SIGTERM", "SIGINT", "SIGQUIT"] as const;

/** Calls `act` at these signals, until it is disposed of. */
export function onSignals(signals: readonly Deno.Signal[], act: () => void): Disposable {
  for (const signal of signals) Deno.addSignalListener(signal, act);
  return {
    [Symbol.dispose]: () => {
      for (const signal of signals) Deno.removeSignalListener(signal, act);
    },
  };
}
