/** The elements as tags in JSX, for TypeScript. */

import type { HTMLAttributes, Ref } from "react";
import type { TaskClient } from "../client/client.js";
import type { PetioleInbox } from "../elements/inbox/inbox.js";
import type { PetioleTask } from "../elements/task/task.js";
import type { PetioleTasks } from "../elements/tasks/tasks.js";
import type { PetioleText } from "../elements/text/text.js";
import type { TokenSource } from "../link/tokens.js";
import type { Snapshot } from "../protocol/reading.js";

/** An element's own attributes beside those of every element. */
type Tag<Kind, Attributes> = HTMLAttributes<Kind> & { readonly ref?: Ref<Kind>; readonly class?: string } & {
  readonly [Name in keyof Attributes]?: Attributes[Name] | undefined;
};

/** React 18 and 19 both write "" as an attribute without a value, and leave out undefined. */
type Flag = "";

interface Server {
  readonly prefix: string;
  readonly path: string;
  /** With React 19, which sets it as a property; with an older one set it by a ref. */
  readonly client: TaskClient;
}

interface OneTask extends Server {
  readonly task: string;
  readonly cursor: string;
  readonly url: string;
  readonly label: string;
  /** As `client`. */
  readonly snapshot: Snapshot;
  readonly token: TokenSource;
}

interface CardAttributes extends OneTask {
  readonly retry: Flag;
  readonly compact: Flag;
  readonly "log-open": Flag;
  readonly "no-texts": Flag;
  readonly "keep-notice": Flag;
}

interface TextAttributes extends OneTask {
  readonly name: string;
}

interface TasksAttributes extends Server {
  readonly state: string;
  readonly name: string;
  readonly filter: Flag;
  readonly limit: number;
  readonly label: string;
}

interface InboxAttributes extends Server {
  readonly "href-template": string;
  readonly label: string;
}

export interface ElementTags {
  "petiole-task": Tag<PetioleTask, CardAttributes>;
  "petiole-text": Tag<PetioleText, TextAttributes>;
  "petiole-tasks": Tag<PetioleTasks, TasksAttributes>;
  "petiole-inbox": Tag<PetioleInbox, InboxAttributes>;
}

declare module "react" {
  namespace JSX {
    interface IntrinsicElements extends ElementTags {}
  }
}
