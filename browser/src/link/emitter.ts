/** Listeners by name; `on` returns its undo. A listener that throws is reported and never stops its neighbours. */

export class Emitter<Events extends { [Name in keyof Events]: readonly unknown[] }> {
  #listeners = new Map<keyof Events, Set<(values: readonly unknown[]) => void>>();

  on<Name extends keyof Events>(name: Name, listener: (...values: Events[Name]) => void): () => void {
    // Wrapped, so that a function added twice is two listeners, each with its own undo.
    const own = (values: readonly unknown[]): void => listener(...(values as Events[Name]));
    const listeners = this.#listeners.get(name) ?? new Set();
    this.#listeners.set(name, listeners.add(own));
    return () => void listeners.delete(own);
  }

  emit<Name extends keyof Events>(name: Name, ...values: Events[Name]): void {
    for (const listener of [...(this.#listeners.get(name) ?? [])]) {
      try {
        listener(values);
      } catch (error) {
        queueMicrotask(() => {
          throw error;
        });
      }
    }
  }

  clear(): void {
    this.#listeners.clear();
  }
}
