/** Which client the hooks use: the page's shared one, unless the application gives its own. */

import { createContext, createElement, type ReactElement, type ReactNode, useCallback, useContext } from "react";
import type { TaskClient } from "../client/client.js";
import { sharedClient } from "../client/shared.js";

const ClientContext = createContext<TaskClient | null>(null);

export interface PetioleProviderProps {
  readonly client: TaskClient;
  readonly children?: ReactNode;
}

/** Gives the components within it a client, for example one with a token or of another server. */
export function PetioleProvider({ client, children }: PetioleProviderProps): ReactElement {
  return createElement(ClientContext.Provider, { value: client }, children);
}

/** Return the client that is given here; null: it is the shared one. */
export function useGivenClient(own: TaskClient | undefined): TaskClient | null {
  const given = useContext(ClientContext);
  return own ?? given;
}

/** Return how to get the client: a server that renders the page never makes one. */
export function useClient(own: TaskClient | undefined): () => TaskClient {
  const client = useGivenClient(own);
  return useCallback(() => client ?? sharedClient(), [client]);
}
