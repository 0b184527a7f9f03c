/** How a hook keeps and reads its store. */

import { useCallback, useState, useSyncExternalStore } from "react";

/** What a hook shows: `value` stays the same object until something changes. */
export interface Store<Value> {
  readonly value: Value;
  /** What a server renders, and the first render in the browser. */
  readonly initial: Value;
  /** Watch while somebody listens; returns the undo. */
  readonly subscribe: (listener: () => void) => () => void;
}

/** Keep a store until one of `parts` changes. React may forget what `useMemo` keeps, and a new store would begin anew. */
export function useKept<Kept>(make: () => Kept, parts: readonly unknown[]): Kept {
  const [kept, keep] = useState(() => ({ parts, store: make() }));
  if (parts.every((part, index) => Object.is(part, kept.parts[index]))) return kept.store;
  const next = { parts, store: make() };
  keep(next);
  return next.store;
}

/** Return what the store has, and render again when it changes; while not `enabled`, nothing is watched. */
export function useStore<Value>(store: Store<Value>, enabled: boolean): Value {
  const subscribe = useCallback(
    (listener: () => void) => (enabled ? store.subscribe(listener) : () => undefined),
    [store, enabled],
  );
  return useSyncExternalStore(subscribe, () => store.value, () => store.initial);
}
