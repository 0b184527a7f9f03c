import { Task, useInbox, useStartTask, useTask, useText } from "petiole/react";
import { useSyncExternalStore } from "react";

export function App() {
  const id = useHash();
  const { start, starting, problem } = useStartTask("/count");
  const count = async () => {
    const task = await start();
    if (task) location.hash = task.id;
  };
  return (
    <>
      <button onClick={count} disabled={starting}>
        Count to 1,000
      </button>
      {problem && <p role="alert">{problem.detail ?? problem.title}</p>}
      <Task task={id} noTexts keepNotice onRetried={(task) => (location.hash = task.id)} />
      {id && <Count key={id} id={id} />}
      <Inbox />
    </>
  );
}

/** The same task without the card: whatever a page makes of it. */
function Count({ id }: { id: string }) {
  const { state, progress, ended, receipt } = useTask(id);
  const { text } = useText(id);
  return (
    <section>
      <h2>
        {state} {progress?.completed}
      </h2>
      <pre>{text}</pre>
      {ended && <p>{receipt?.complete ? "Nothing is missing." : "Something is missing."}</p>}
    </section>
  );
}

function Inbox() {
  const { notices, acknowledge } = useInbox();
  return (
    <ul aria-label="Inbox">
      {notices.map(({ id, title, state }) => (
        <li key={id}>
          {title}: {state} <button onClick={() => acknowledge([id])}>Dismiss</button>
        </li>
      ))}
    </ul>
  );
}

/** The task's id is in the address, so that a reload shows it again. */
function useHash(): string | null {
  return useSyncExternalStore(
    (changed) => {
      addEventListener("hashchange", changed);
      return () => removeEventListener("hashchange", changed);
    },
    () => location.hash.slice(1) || null,
  );
}
