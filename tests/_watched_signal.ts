/** A signal that counts the listeners that were left on it. */
export class WatchedSignal {
  readonly #controller = new AbortController();
  /** Listeners added and not removed. */
  listeners = 0;
  /** Listeners ever added. */
  added = 0;

  /** The signal. */
  readonly signal: AbortSignal = this.#controller.signal;

  constructor() {
    const { signal } = this;
    const { addEventListener, removeEventListener } = signal;
    const live = new Set<unknown>();
    signal.addEventListener = (...args: unknown[]) => {
      live.add(args[1]);
      this.added++;
      this.listeners = live.size;
      Reflect.apply(addEventListener, signal, args);
    };
    signal.removeEventListener = (...args: unknown[]) => {
      live.delete(args[1]);
      this.listeners = live.size;
      Reflect.apply(removeEventListener, signal, args);
    };
  }

  /** Aborts. */
  abort(reason?: unknown): void {
    this.#controller.abort(reason);
  }
}
