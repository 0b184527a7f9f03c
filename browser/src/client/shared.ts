/** The clients that a page's elements share, so that a page has one connection however many tasks it shows. */

import { type ClientOptions, TaskClient } from "./client.js";

const clients = new Map<string, TaskClient>();

/** Return the page's client for this prefix and path. It disconnects by itself while nothing is watched. */
export function sharedClient({ prefix, path }: Pick<ClientOptions, "prefix" | "path"> = {}): TaskClient {
  const key = `${prefix ?? ""} ${path ?? ""}`;
  const client =
    clients.get(key) ?? new TaskClient({ ...(prefix !== undefined && { prefix }), ...(path !== undefined && { path }) });
  clients.set(key, client);
  return client;
}
