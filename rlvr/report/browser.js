// The rollout browser: filters over an index of columns; text is unpacked only when it is looked at or searched.

const PAGE_ROWS = 50;
const SNIPPET = 140;

class Browser {
  constructor(index) {
    this.c = index.columns;
    this.names = index.names;
    this.runs = index.runs;
    this.total = this.c.run.length;
    this.found = [];
    this.page = 0;
    this.search = 0; // number of the latest search; an older one stops
    this.chunk = remembering(60, (number) => unpackJson(`chunk-${number}`));
    this.form = byId("filters");
    this.groups = this.groupRows();
  }

  setUp() {
    const places = [...new Set(this.c.stage.map((stage, i) => `${this.c.evaluation[i]}/${stage}`))];
    for (const place of places) this.option("where", place, this.placeName(place));
    this.runs.forEach((name, number) => this.option("run", number, name));
    for (const element of document.querySelectorAll(".several-runs")) element.hidden = this.runs.length < 2;
    for (const column of ["source", "reason", "finish"]) this.names[column].forEach((name, number) => this.option(column, number, name));
    let waiting = null;
    this.form.addEventListener("input", () => { clearTimeout(waiting); waiting = setTimeout(() => this.filter(), 150); });
    this.form.addEventListener("reset", () => setTimeout(() => this.filter()));
    this.form.addEventListener("submit", (event) => event.preventDefault());
    byId("previous").addEventListener("click", () => this.turn(-1));
    byId("next").addEventListener("click", () => this.turn(1));
    return this.filter();
  }

  option(field, value, label) {
    this.form.elements[field].append(element("option", { value }, label));
  }

  placeName(place) {
    const [evaluation, stage] = place.split("/").map(Number);
    const name = this.names.evaluation[evaluation];
    const [evaluations, stages] = [this.names.evaluation.length, this.names.stage.length];
    if (!name) return stages > 1 && evaluations > 0 ? `training, ${this.names.stage[stage]}` : "training";
    return `${name}, ${this.names.stage[stage]}`;
  }

  // Rows of each group (run, place, step, chunk, group), and the groups of each task.
  groupRows() {
    const groups = new Map();
    this.ofTask = new Map();
    for (let i = 0; i < this.total; i++) {
      const key = `${this.c.chunk[i]}/${this.c.group[i]}`;
      const rows = groups.get(key);
      if (rows) { rows.push(i); continue; }
      groups.set(key, [i]);
      const task = this.ofTask.get(this.c.task[i]);
      if (task) task.push(key); else this.ofTask.set(this.c.task[i], [key]);
    }
    return groups;
  }

  wanted() {
    const fields = this.form.elements;
    const number = (name) => (fields[name].value === "" ? null : Number(fields[name].value));
    return {
      text: fields.text.value.toLowerCase(), where: fields.where.value, run: number("run"), task: fields.task.value.toLowerCase(),
      source: number("source"), reason: number("reason"), finish: number("finish"), sort: fields.sort.value, down: fields.down.checked,
      ranges: ["step", "score", "tokens"].map((name) => [name, number(`${name}-from`), number(`${name}-to`)]).filter(([, from, to]) => from !== null || to !== null),
    };
  }

  async filter() {
    const mine = ++this.search;
    const wanted = this.wanted();
    const tasks = wanted.task ? new Set(this.names.task.flatMap((name, i) => (name.toLowerCase().includes(wanted.task) ? [i] : []))) : null;
    const rows = [];
    for (let i = 0; i < this.total; i++) if (this.matches(i, wanted, tasks)) rows.push(i);
    this.found = wanted.text ? [] : this.sorted(rows, wanted);
    this.page = 0;
    await this.show(wanted.text ? "searching" : "");
    if (wanted.text) await this.searchText(rows, wanted, mine);
  }

  matches(i, wanted, tasks) {
    const c = this.c;
    if (wanted.where && wanted.where !== `${c.evaluation[i]}/${c.stage[i]}`) return false;
    for (const column of ["run", "source", "reason", "finish"]) if (wanted[column] !== null && c[column][i] !== wanted[column]) return false;
    if (tasks && !tasks.has(c.task[i])) return false;
    for (const [column, from, to] of wanted.ranges) {
      const value = c[column][i];
      if (value === null || (from !== null && value < from) || (to !== null && value > to)) return false;
    }
    return true;
  }

  sorted(rows, { sort, down }) {
    const values = sort ? this.c[sort] : null;
    const sorted = values ? [...rows].sort((a, b) => (values[a] === null) - (values[b] === null) || (down ? values[b] - values[a] : values[a] - values[b])) : rows;
    return !values && down ? [...sorted].reverse() : sorted;
  }

  // Chunk by chunk, so that the page stays alive; matches appear while the search goes on.
  async searchText(rows, wanted, mine) {
    const ofChunk = new Map();
    for (const i of rows) {
      const list = ofChunk.get(this.c.chunk[i]);
      if (list) list.push(i); else ofChunk.set(this.c.chunk[i], [i]);
    }
    const found = [];
    let searched = 0;
    let shown = performance.now();
    for (const [number, list] of ofChunk) {
      const groups = await this.chunk(number);
      if (mine !== this.search) return;
      const inPrompt = new Map();
      for (const i of list) {
        const group = groups[this.c.group[i]];
        if (!inPrompt.has(group)) inPrompt.set(group, group.prompt.toLowerCase().includes(wanted.text));
        const row = group.rows[this.c.row[i]];
        if (inPrompt.get(group) || [row.text, row.explanation, row.parsed].some((text) => text && text.toLowerCase().includes(wanted.text))) found.push(i);
      }
      searched += list.length;
      if (performance.now() - shown > 120) {
        shown = performance.now();
        this.found = this.sorted(found, wanted);
        await this.show(`searched ${searched.toLocaleString("en")} of ${rows.length.toLocaleString("en")}`);
        await new Promise((resume) => setTimeout(resume));
        if (mine !== this.search) return;
      }
    }
    this.found = this.sorted(found, wanted);
    await this.show();
  }

  turn(by) {
    this.page = Math.max(0, Math.min(Math.ceil(this.found.length / PAGE_ROWS) - 1, this.page + by));
    this.show();
  }

  async show(state) {
    const start = this.page * PAGE_ROWS;
    const rows = this.found.slice(start, start + PAGE_ROWS);
    const n = this.found.length;
    byId("found").textContent = `${n.toLocaleString("en")} of ${this.total.toLocaleString("en")} rollouts${n ? `, ${this.summary()}` : ""}${state ? ` (${state})` : ""}`;
    byId("page").textContent = n ? `${(start + 1).toLocaleString("en")} to ${Math.min(n, start + PAGE_ROWS).toLocaleString("en")}` : "none";
    byId("previous").disabled = this.page === 0;
    byId("next").disabled = start + PAGE_ROWS >= n;
    const shown = rows.map((i) => this.row(i));
    byId("rows").replaceChildren(...shown.map(({ line }) => line));
    await Promise.all(shown.map(({ i, snippet }) => this.details(i).then((row) => { snippet.textContent = oneLine(row.text); })));
    if (!state) byId("found").dataset.search = this.search;
  }

  summary() {
    let passed = 0;
    let tokens = 0;
    for (const i of this.found) { passed += this.c.passed[i]; tokens += this.c.tokens[i]; }
    return `${((100 * passed) / this.found.length).toFixed(1)} % passed, ${shortNumber(tokens / this.found.length)} tokens on average`;
  }

  async details(i) {
    return (await this.chunk(this.c.chunk[i]))[this.c.group[i]].rows[this.c.row[i]];
  }

  row(i) {
    const c = this.c;
    const open = () => openGroup(this, `${c.chunk[i]}/${c.group[i]}`, i);
    const snippet = element("td", { class: "snippet" });
    const line = element("tr", { tabindex: 0, onclick: open, onkeydown: (event) => { if (event.key === "Enter") open(); } },
      element("td", {}, this.place(i)), element("td", { class: "task" }, this.names.task[c.task[i]]), element("td", { class: "n" }, shortNumber(c.score[i])),
      element("td", {}, verdict(c.passed[i], this.names.reason[c.reason[i]])), element("td", { class: "n" }, shortNumber(c.tokens[i])),
      element("td", { class: `n ${c.advantage[i] > 0 ? "up" : c.advantage[i] < 0 ? "down" : ""}` }, c.advantage[i] === null ? "-" : c.advantage[i].toFixed(2)), snippet);
    return { i, line, snippet };
  }

  place(i) {
    const c = this.c;
    const evaluation = this.names.evaluation[c.evaluation[i]];
    const run = this.runs.length > 1 ? `${this.runs[c.run[i]]} ` : "";
    return `${run}${this.names.stage[c.stage[i]]} ${c.step[i]}${evaluation ? ` ${evaluation}` : ""}`;
  }
}

function verdict(passed, reason) {
  return element("span", { class: `verdict ${passed ? "passed" : "failed"}` }, `${passed ? "✓" : "✗"} ${reason}`);
}

function oneLine(text) {
  const start = text.slice(0, 2 * SNIPPET).replace(/\s+/g, " ").trim();
  return start.length > SNIPPET || text.length > 2 * SNIPPET ? `${start.slice(0, SNIPPET)} …` : start;
}

// One group, and the same task at another step beside it.
const opened = { browser: null, columns: [], marked: -1 };

async function openGroup(browser, key, marked) {
  Object.assign(opened, { browser, columns: [key], marked });
  await drawGroups();
  const dialog = byId("group");
  if (!dialog.open) dialog.showModal();
  dialog.scrollTop = 0;
  dialog.querySelector(".completion.marked")?.scrollIntoView({ block: "nearest" });
}

async function drawGroups() {
  const { browser, columns } = opened;
  const mode = byId("colour").value;
  const first = browser.groups.get(columns[0])[0];
  const task = browser.c.task[first];
  byId("group-title").textContent = browser.names.task[task];
  byId("scale").replaceChildren(...colourScale(mode));
  const others = browser.ofTask.get(task);
  byId("others").replaceChildren(...(others.length > 1 ? ["Same task: ", ...others.map((key) => occurrence(browser, key))] : [""]));
  byId("columns").replaceChildren(...(await Promise.all(columns.map((key) => groupColumn(browser, key, mode)))));
  byId("columns").dataset.count = columns.length;
}

function occurrence(browser, key) {
  const rows = browser.groups.get(key);
  const share = rows.reduce((sum, i) => sum + browser.c.passed[i], 0) / rows.length;
  const chosen = opened.columns.includes(key);
  const press = () => {
    if (chosen && opened.columns.length > 1) opened.columns = opened.columns.filter((other) => other !== key);
    else if (!chosen) opened.columns = [opened.columns[0], key];
    drawGroups();
  };
  return element("button", { type: "button", class: "chip", "aria-pressed": String(chosen), onclick: press }, `${browser.place(rows[0])} · ${Math.round(100 * share)} %`);
}

async function groupColumn(browser, key, mode) {
  const rows = browser.groups.get(key);
  const { c, names } = browser;
  const group = (await browser.chunk(c.chunk[rows[0]]))[c.group[rows[0]]];
  const passed = rows.reduce((sum, i) => sum + c.passed[i], 0);
  return element("section", { class: "column" },
    element("h3", {}, browser.place(rows[0]), element("small", {}, ` ${passed} of ${rows.length} passed · ${names.source[c.source[rows[0]]]}${group.verifier ? ` · ${group.verifier}` : ""}`)),
    element("details", { open: true }, element("summary", {}, "Prompt"), ...messages(group.prompt)),
    element("p", { class: "gold" }, element("b", {}, "gold "), plainText(group.answer || "-")),
    ...rows.map((i) => completion(browser, i, group.rows[c.row[i]], mode, group.answer)));
}

function messages(prompt) {
  let parsed;
  try { parsed = JSON.parse(prompt); } catch { return [plainText(prompt)]; }
  return parsed.map((message) => element("div", { class: "message" }, element("b", {}, String(message.role)), plainText(typeof message.content === "string" ? message.content : JSON.stringify(message.content ?? message, null, 1))));
}

function completion(browser, i, row, mode, answer) {
  const { c, names } = browser;
  const facts = [`#${c.sample[i]}`, `score ${shortNumber(c.score[i])}`, c.reward[i] === null ? "not trained on" : `reward ${shortNumber(c.reward[i])}`, c.advantage[i] === null ? null : `advantage ${c.advantage[i].toFixed(2)}`,
    `${c.tokens[i]} tokens`, `ended by ${names.finish[c.finish[i]]}`, `policy ${row.version}`].filter(Boolean).join(" · ");
  const tone = c.advantage[i] > 0 ? "up" : c.advantage[i] < 0 ? "down" : "";
  return element("article", { class: `completion ${tone} ${i === opened.marked ? "marked" : ""}` },
    element("p", { class: "facts" }, verdict(c.passed[i], names.reason[c.reason[i]]), element("small", {}, ` ${facts}`)),
    colouredText(row, mode, c.advantage[i]),
    (!c.passed[i] && differenceFrom(answer, row.parsed)) || (row.parsed ? element("p", { class: "said" }, element("b", {}, "read as "), plainText(row.parsed)) : null),
    row.explanation ? element("p", { class: "said" }, element("b", {}, "verifier "), plainText(row.explanation)) : null);
}

function setUpGroup() {
  const dialog = byId("group");
  byId("close").addEventListener("click", () => dialog.close());
  byId("colour").addEventListener("change", () => drawGroups());
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });
}
