/** JSON as it travels. */

export type JSONValue = null | boolean | number | string | JSONValue[] | { [name: string]: JSONValue };

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
