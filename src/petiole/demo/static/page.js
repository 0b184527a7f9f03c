"use strict";
(() => {
  const places = document.body.dataset;
  const element = (id) => document.getElementById(id);
  const [form, table, choices, filters, problem] = ["form", "table", "choices", "filters", "problem"].map(element);
  const numbers = new Intl.NumberFormat(document.documentElement.lang);
  const words = {
    "=": "is", "!=": "is not", "<": "is less than", "<=": "is at most", ">": "is more than", ">=": "is at least",
    contains: "contains", is_empty: "is empty", is_not_empty: "is not empty",
  };
  const tabs = "BroadcastChannel" in window ? new BroadcastChannel("petiole-demo") : null;
  let catalog = { tables: [], operators: {} };
  let olderUrl = null;
  const shown = new Set([...document.querySelectorAll("petiole-task[data-id]")].map((task) => task.dataset.id));
  const client = Petiole.sharedClient({ prefix: places.prefix });
  /** Seconds that the cable is cut for: long enough to read what the exports say meanwhile. */
  const CUT = 8;

  const chosen = () => catalog.tables.find((each) => each.name === table.value);
  const option = (value, text) => Object.assign(document.createElement("option"), { value, textContent: text });

  function say(sentence, field) {
    problem.textContent = sentence ?? "";
    problem.hidden = !sentence;
    for (const marked of form.querySelectorAll("[aria-invalid]")) marked.removeAttribute("aria-invalid");
    const at = /^filters\[(\d+)\]\.?(column|operator|value)?/.exec(field ?? "");
    const wrong = at ? filters.children[at[1]]?.querySelector(`.filter-${at[2] ?? "value"}`) : field === "table" ? table : null;
    if (wrong) {
      wrong.setAttribute("aria-invalid", "true");
      wrong.focus();
    }
    if (field?.startsWith("columns")) element("columns").open = true;
  }

  async function answerOf(request) {
    let response;
    try {
      response = await request;
    } catch {
      throw { sentence: "The server can't be reached. Check your connection and try again." };
    }
    const body = await response.json().catch(() => null);
    if (!response.ok) {
      const first = body?.errors?.[0];
      throw { sentence: first?.detail ?? body?.detail ?? `The server answered ${response.status}. Try again.`, field: first?.field };
    }
    return { response, body };
  }

  function showColumns() {
    choices.replaceChildren(...chosen().columns.map((column) => {
      const label = document.createElement("label");
      const box = Object.assign(document.createElement("input"), { type: "checkbox", value: column.name, checked: true });
      label.append(box, column.name);
      return label;
    }));
    filters.replaceChildren();
    countColumns();
  }

  function countColumns() {
    const all = choices.querySelectorAll("input").length;
    const some = choices.querySelectorAll("input:checked").length;
    element("columns-said").textContent = all === some ? `all ${all}` : `${some} of ${all}`;
  }

  function check(all) {
    for (const box of choices.querySelectorAll("input")) box.checked = all;
    countColumns();
  }

  function addFilter() {
    const row = element("filter").content.firstElementChild.cloneNode(true);
    const [column, operator, value] = ["column", "operator", "value"].map((part) => row.querySelector(`.filter-${part}`));
    column.append(...chosen().columns.map((each) => option(each.name, each.name)));
    const showOperators = () => {
      const { kind } = chosen().columns.find((each) => each.name === column.value);
      operator.replaceChildren(...catalog.operators[kind].map((each) => option(each, words[each] ?? each)));
      value.inputMode = kind === "text" ? "text" : "decimal";
      showValue();
    };
    const showValue = () => { value.hidden = operator.value.endsWith("_empty"); };
    column.addEventListener("change", showOperators);
    operator.addEventListener("change", showValue);
    row.querySelector(".filter-remove").addEventListener("click", () => {
      row.remove();
      element("add-filter").focus();
    });
    showOperators();
    filters.append(row);
    column.focus();
  }

  function valueOf(column, text) {
    const { kind } = chosen().columns.find((each) => each.name === column);
    const number = Number(text.trim().replace(",", "."));
    return kind === "text" || text.trim() === "" || Number.isNaN(number) ? text : number;
  }

  function selection() {
    const boxes = [...choices.querySelectorAll("input")];
    const columns = boxes.filter((box) => box.checked).map((box) => box.value);
    const rows = [...filters.children].map((row) => {
      const [column, operator, value] = ["column", "operator", "value"].map((part) => row.querySelector(`.filter-${part}`).value);
      return operator.endsWith("_empty") ? { column, operator } : { column, operator, value: valueOf(column, value) };
    });
    // All of a wide table's names would make a large message.
    return { table: table.value, columns: columns.length === boxes.length ? null : columns, filters: rows };
  }

  function show(snapshot, place) {
    if (shown.has(snapshot.id)) return;
    shown.add(snapshot.id);
    const task = document.createElement("petiole-task");
    task.dataset.id = snapshot.id;
    task.toggleAttribute("retry", selectionOf(snapshot.id) !== null);
    task.setAttribute("prefix", places.prefix);
    // What was over before this page knew of it stays in the inbox until somebody dismisses it there.
    task.toggleAttribute("keep-notice", "finished_at" in snapshot.document);
    task.snapshot = snapshot;
    element("exports")[place](task);
    element("empty").hidden = true;
  }

  /** What was selected for an export of this tab, so that it can be started again where the server doesn't offer that. */
  function selectionOf(id) {
    return JSON.parse(sessionStorage.getItem(`selection ${id}`));
  }

  async function start(selected) {
    const { body } = await answerOf(fetch(places.exports, {
      method: "POST",
      headers: { "Content-Type": "application/json" },
      body: JSON.stringify(selected),
    }));
    sessionStorage.setItem(`selection ${body.id}`, JSON.stringify(selected));
    return body;
  }

  async function startAgain(event) {
    const task = event.target;
    const selected = selectionOf(task.dataset.id);
    if (event.detail.links.retry || !selected) return;
    event.preventDefault();
    try {
      task.snapshot = await start(selected);
      replaced(task, task.snapshot);
    } catch (refusal) {
      if (!refusal.sentence) throw refusal;
      say(refusal.sentence);
    }
  }

  /** A task was started again in the place of the one that it repeats. */
  function replaced(task, snapshot) {
    task.dataset.id = snapshot.id;
    task.removeAttribute("keep-notice");
    task.toggleAttribute("retry", selectionOf(snapshot.id) !== null);
    shown.add(snapshot.id);
    tabs?.postMessage("started");
  }

  function cut() {
    client.cut(CUT);
    element("cut").disabled = true;
    element("broken").textContent = `This tab has no connection for ${CUT} s. The exports go on.`;
    const undo = client.on("link", (state) => {
      if (state !== "live") return;
      undo();
      element("cut").disabled = false;
      element("broken").textContent = "Connected again. What was missed has been read.";
    });
  }

  async function kill({ target }) {
    const { kill: what } = target.dataset;
    try {
      const { body } = await answerOf(fetch(places.breakage, {
        method: "POST",
        headers: { "Content-Type": "application/json" },
        body: JSON.stringify({ kill: what }),
      }));
      element("broken").textContent = what === "worker"
        ? `The worker has been killed. Another one starts in ${body.again_after} s.`
        : "The processes that ran tasks have been killed. The worker starts new ones.";
    } catch (refusal) {
      if (!refusal.sentence) throw refusal;
      element("broken").textContent = refusal.sentence;
    }
  }

  async function list(url, place) {
    const { response, body } = await answerOf(fetch(url, { headers: { Accept: "application/json" } }));
    const tasks = place === "prepend" ? body.tasks.toReversed?.() ?? [...body.tasks].reverse() : body.tasks;
    for (const snapshot of tasks) show(snapshot, place);
    element("empty").hidden = element("exports").childElementCount > 0;
    return /<([^>]+)>; rel="next"/.exec(response.headers.get("Link") ?? "")?.[1] ?? null;
  }

  function showUnread({ detail: { unread } }) {
    const sum = numbers.format(unread);
    element("unread").textContent = unread > 99 ? "99+" : sum;
    element("unread").hidden = unread === 0;
    element("bell").setAttribute("aria-label", unread > 0 ? `Inbox, ${sum} unread` : "Inbox");
    // The inbox itself says what has come only while it is open.
    element("unread-said").textContent = unread > 0 && !element("inbox").matches(":popover-open") ? `${sum} unread in the inbox` : "";
  }

  const showNewer = () => list(places.tasks, "prepend").catch(() => {});

  async function showOlder() {
    olderUrl = await list(olderUrl ?? places.tasks, "append");
    element("older").hidden = olderUrl === null;
  }

  form.addEventListener("submit", async (event) => {
    event.preventDefault();
    say(null);
    try {
      show(await start(selection()), "prepend");
      tabs?.postMessage("started");
    } catch (refusal) {
      if (!refusal.sentence) throw refusal;
      say(refusal.sentence, refusal.field);
    }
  });
  table.addEventListener("change", showColumns);
  choices.addEventListener("change", countColumns);
  element("all").addEventListener("click", () => check(true));
  element("none").addEventListener("click", () => check(false));
  element("add-filter").addEventListener("click", addFilter);
  element("older").addEventListener("click", () => showOlder().catch((refusal) => say(refusal.sentence)));
  element("exports").addEventListener("petiole-retry", startAgain);
  element("exports").addEventListener("petiole-retried", ({ target, detail }) => replaced(target, detail));
  element("cut").addEventListener("click", cut);
  for (const button of document.querySelectorAll("[data-kill]")) button.addEventListener("click", kill);
  element("inbox").addEventListener("petiole-inbox-change", showUnread);
  element("inbox").addEventListener("toggle", ({ newState }) => element("bell").classList.toggle("open", newState === "open"));
  tabs?.addEventListener("message", showNewer);
  document.addEventListener("visibilitychange", () => { if (!document.hidden) showNewer(); });

  (async () => {
    try {
      ({ body: catalog } = await answerOf(fetch(places.catalog)));
      const rows = ({ rows_estimate: estimate }) => (estimate === null ? "" : ` · ${numbers.format(estimate)} rows`);
      table.append(...catalog.tables.map((each) => option(each.name, `${each.name}${rows(each)}`)));
      if (catalog.tables.some((each) => each.name === "flights")) table.value = "flights";
      showColumns();
      await showOlder();
    } catch (refusal) {
      if (!refusal.sentence) throw refusal;
      say(refusal.sentence);
    }
  })();
})();
