/** JSON as it travels. */

export type JSONValue = null | boolean | number | string | JSONValue[] | { [name: string]: JSONValue };

export function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}

/** Return an object's own member: a name from outside may be one that every object inherits. */
export function own<Value>(members: Readonly<Record<string, Value>>, name: string): Value | undefined {
  return Object.prototype.hasOwnProperty.call(members, name) ? members[name] : undefined;
}
