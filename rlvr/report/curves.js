// Curves: small charts that share one x axis and one cursor. The numbers under the cursor stand in each chart's own legend.

const AXIS_TITLES = { step: "step", tokens: "sampled tokens", minutes: "minutes in steps" };
const RUN_COLORS = 8;
const SERIES_DASHES = ["solid", "dot", "dash", "dashdot"];

let library = null; // a promise, once the first chart comes into view

function loadLibrary() {
  library ||= (async () => {
    const code = await unpack("library");
    const script = document.createElement("script");
    script.textContent = code; // its hash is in the content security policy
    document.head.append(script);
    if (!window.Plotly) throw new Error("the chart library did not start");
    byId("library").remove();
    return window.Plotly;
  })();
  return library;
}

class Curves {
  constructor(data) {
    this.data = data;
    this.cards = [];
    this.hidden = new Set();
    this.axis = "step";
    this.smooth = false;
    // Runs of one variant differ in their seed: one line for all of them, in a band from the lowest to the highest.
    this.overSeeds = data.variants.some((variant, number) => data.runs.filter((run) => run.variant === number).length > 1);
    this.cursor = null;
    this.seen = new IntersectionObserver((entries) => {
      for (const { target, isIntersecting } of entries) {
        const card = this.cards.find((candidate) => candidate.plot === target);
        card.visible = isIntersecting;
        if (isIntersecting && card.stale) this.draw(card);
      }
    }, { rootMargin: "300px" });
  }

  setUp() {
    const axis = byId("axis");
    axis.addEventListener("change", () => { this.axis = axis.value; this.redraw(); });
    const smooth = byId("smooth");
    smooth.addEventListener("change", () => { this.smooth = smooth.checked; this.redraw(); });
    const seeds = byId("seeds");
    byId("seeds-choice").hidden = !this.overSeeds;
    seeds.addEventListener("change", () => { this.overSeeds = seeds.value === "mean"; this.legend(); this.redraw(); });
    if (this.data.runs.length > 1) this.legend();
    if (this.data.runs.some((run) => run.heldOut.length)) this.addCard(this.heldOutChart(), byId("charts"));
    for (const chart of this.data.charts) this.addCard(chart, byId(chart.more ? "charts-more" : "charts"));
    if (!this.cards.length) byId("charts").append(element("p", { class: "note" }, "No finished step yet."));
    byId("more").hidden = !this.data.charts.some((chart) => chart.more);
  }

  legend() {
    const runs = this.data.runs.map((run, number) => ({ name: run.name, colour: run.colour, numbers: [number] }));
    const variants = this.data.variants.map((name, variant) => {
      const numbers = runs.flatMap((_, number) => (this.data.runs[number].variant === variant ? [number] : []));
      return { name, colour: runs[numbers[0]].colour, numbers };
    });
    byId("legend").replaceChildren(...(this.overSeeds ? variants : runs).map(({ name, colour, numbers }) => {
      const box = element("input", { type: "checkbox", checked: !numbers.every((number) => this.hidden.has(number)), onchange: () => {
        for (const number of numbers) if (box.checked) this.hidden.delete(number); else this.hidden.add(number);
        this.redraw();
      } });
      return element("label", {}, box, element("i", { class: `swatch run-${colour % RUN_COLORS}` }), name);
    }));
  }

  heldOutChart() {
    return { title: "Held-out accuracy", unit: "%", note: "Bars are 95 % intervals over tasks; a band reaches from the lowest to the highest seed.", heldOut: true, stacked: false, metrics: [], stage: "" };
  }

  addCard(chart, where) {
    const several = new Set(this.data.charts.map((other) => other.stage)).size > 1 && chart.stage;
    const readout = element("p", { class: "readout" });
    const plot = element("div", { class: "plot" });
    const line = element("i", { class: "cursor" });
    const unit = chart.unit ? element("small", {}, ` ${chart.unit}`) : null;
    const stage = several ? element("small", {}, ` ${chart.stage}`) : null;
    const card = { chart, plot, readout, line, stale: true, visible: false, series: [], metric: chart.metrics[0] };
    where.append(element("article", { class: "card", title: chart.note || null }, element("h3", {}, chart.title, unit, stage, this.metricChoice(card)), readout,
      element("div", { class: "plot-frame" }, plot, line)));
    this.cards.push(card);
    this.seen.observe(plot);
  }

  // Several runs and several metrics would be too many lines: the reader picks the metric.
  metricChoice(card) {
    if (this.data.runs.length === 1 || card.chart.metrics.length < 2) return null;
    const select = element("select", { "aria-label": `metric of ${card.chart.title}`, onchange: () => { card.metric = select.value; this.draw(card); } },
      ...card.chart.metrics.map((name) => element("option", { value: name }, shortName(name, card.chart))));
    return select;
  }

  redraw() {
    for (const card of this.cards) {
      card.stale = true;
      if (card.visible) this.draw(card);
    }
  }

  // Series of a chart: {name, run, x, y, low, high, color, dash}; y in the chart's unit.
  seriesOf({ chart, metric }) {
    const alone = this.data.runs.length === 1;
    const scale = chart.unit === "%" ? 100 : 1;
    const found = [];
    this.data.runs.forEach((run, number) => {
      if (this.hidden.has(number)) return;
      if (chart.heldOut) {
        const names = [...new Set(run.heldOut.map((point) => point.name))];
        names.forEach((name, which) => {
          const points = run.heldOut.filter((point) => point.name === name && (point.stage === "rl" || this.axis !== "step" || point === lastBefore(run.heldOut, name)));
          if (!points.length) return;
          found.push({ name: this.nameOf(run, names.length > 1 ? name : ""), variant: run.variant, kind: name, keys: points.map((p) => p.label), x: points.map((p) => (p.stage === "rl" || this.axis !== "step" ? p[this.axis] : 0)), y: points.map((p) => scale * p.value),
            low: points.map((p) => scale * p.low), high: points.map((p) => scale * p.high), labels: points.map((p) => p.label), color: color(`run-${run.colour % RUN_COLORS}`), dash: SERIES_DASHES[which % 4] });
        });
        return;
      }
      const stage = run.stages[chart.stage];
      if (!stage) return;
      const metrics = chart.metrics.filter((name) => stage.metrics[name] && (alone || name === metric));
      metrics.forEach((name) => {
        const position = chart.metrics.indexOf(name);
        const y = stage.metrics[name].map((value) => (value === null ? (name.startsWith("reasons/") ? 0 : null) : scale * value));
        found.push({ name: this.nameOf(run, metrics.length > 1 ? shortName(name, chart) : ""), variant: run.variant, kind: name, keys: stage.step, x: stage[this.axis], y: this.smooth && !(alone && chart.stacked) ? smoothed(y) : y,
          color: color(`run-${(alone ? position : run.colour) % RUN_COLORS}`), dash: "solid" });
      });
    });
    return this.overSeeds ? this.meansOf(found) : found;
  }

  // One series for all runs of a variant: means at the steps (evaluations) that all of them have, and the band they lie in.
  meansOf(found) {
    const groups = new Map();
    for (const series of found) {
      const key = `${series.variant}/${series.kind}`;
      if (groups.has(key)) groups.get(key).push(series); else groups.set(key, [series]);
    }
    return [...groups.values()].map((members) => {
      const name = this.data.variants[members[0].variant];
      if (members.length === 1) return { ...members[0], name };
      const places = members.map((member) => new Map(member.keys.map((key, i) => [key, i])));
      const common = members[0].keys.filter((key) => places.every((place, m) => place.has(key) && members[m].y[place.get(key)] !== null));
      const at = (field) => common.map((key) => members.map((member, m) => member[field][places[m].get(key)]));
      const mean = (values) => values.reduce((sum, value) => sum + value, 0) / values.length;
      const y = at("y");
      return { ...members[0], name, band: true, x: at("x").map(mean), y: y.map(mean), low: y.map((v) => Math.min(...v)), high: y.map((v) => Math.max(...v)), labels: members[0].labels && common };
    });
  }

  nameOf(run, series) {
    if (this.data.runs.length === 1) return series;
    return series ? `${run.name} ${series}` : run.name;
  }

  async draw(card) {
    card.stale = false;
    const plotly = await loadLibrary();
    const series = this.seriesOf(card);
    card.series = series;
    const stacked = card.chart.stacked && this.data.runs.length === 1;
    const traces = series.flatMap((s) => [...bandOf(s), {
      type: "scatter", mode: s.x.length < 40 || hasBars(s) ? "lines+markers" : "lines", x: s.x, y: s.y, hoverinfo: "none", connectgaps: true,
      line: { color: s.color, width: 1.8, dash: s.dash }, marker: { size: s.labels ? 6 : 3.5, color: s.color },
      ...(stacked ? { stackgroup: "one", mode: "lines", line: { width: 0.5, color: s.color } } : {}),
      ...(hasBars(s) ? { error_y: { type: "data", symmetric: false, array: s.high.map((h, i) => h - s.y[i]), arrayminus: s.y.map((y, i) => y - s.low[i]), color: s.color, thickness: 1, width: 3 } } : {}),
    }]);
    await plotly.react(card.plot, traces, layout(AXIS_TITLES[this.axis], {}, traces.every((trace) => trace.y.every((value) => value === null || value >= 0)) ? "nonnegative" : "normal"), { displayModeBar: false, responsive: true });
    if (!card.bound) {
      card.bound = true;
      card.plot.on("plotly_hover", (event) => this.point(event.xvals[0]));
      card.plot.on("plotly_unhover", () => this.point(null));
      card.plot.on("plotly_relayout", (event) => this.zoom(card, event));
    }
    this.read(card);
  }

  point(x) {
    this.cursor = x !== null && this.axis === "step" ? Math.round(x) : x;
    for (const card of this.cards) if (card.visible && card.bound) this.read(card);
  }

  // The same part of the x axis everywhere.
  zoom(source, event) {
    const given = event["xaxis.range[0]"] !== undefined;
    if (this.zooming || !(given || event["xaxis.autorange"])) return;
    this.zooming = true;
    const change = given ? { "xaxis.range": [event["xaxis.range[0]"], event["xaxis.range[1]"]] } : { "xaxis.autorange": true };
    Promise.all(this.cards.filter((card) => card.bound && card !== source).map((card) => window.Plotly.relayout(card.plot, change))).finally(() => { this.zooming = false; });
  }

  // Draws the cursor and the numbers under it; without a cursor, the last numbers.
  read(card) {
    const axis = card.plot._fullLayout && card.plot._fullLayout.xaxis;
    const inside = this.cursor !== null && axis && this.cursor >= axis.range[0] && this.cursor <= axis.range[1];
    card.line.style.display = inside ? "block" : "none";
    if (inside) card.line.style.left = `${axis._offset + axis.d2p(this.cursor)}px`;
    card.readout.replaceChildren(...card.series.map((s) => {
      const i = this.cursor === null ? lastIndex(s.y) : nearest(s.x, this.cursor);
      const [low, high] = s.low && i >= 0 ? [shortNumber(s.low[i]), shortNumber(s.high[i])] : [];
      const label = s.labels && i >= 0 ? ` ${s.labels[i]}` : "";
      const range = low === undefined ? "" : s.band ? (low === high ? label : ` ${low} to ${high}${label}`) : ` [${low}, ${high}]${label}`;
      return element("span", {}, element("i", { class: "swatch", style: `background:${s.color}` }), s.name ? `${s.name} ` : "", element("b", {}, i < 0 ? "-" : shortNumber(s.y[i])), element("small", {}, range));
    }), this.cursor === null ? "" : element("span", { class: "at" }, `at ${AXIS_TITLES[this.axis]} ${shortNumber(this.cursor)}`));
  }
}

const hasBars = (series) => series.low && !series.band; // an interval; the band of seeds is drawn as an area

function bandOf({ band, x, low, high, color: ink }) {
  if (!band) return [];
  const edge = { type: "scatter", mode: "lines", x, line: { width: 0, color: ink }, hoverinfo: "skip" };
  return [{ ...edge, y: low }, { ...edge, y: high, fill: "tonexty", fillcolor: `${ink}2e` }];
}

function lastBefore(points, name) {
  return points.filter((point) => point.name === name && point.stage !== "rl").at(-1);
}

function shortName(name, chart) {
  const family = chart.metrics.every((other) => other.split("/")[0] === name.split("/")[0]);
  return (family ? name.split("/").slice(1).join("/") : name) || name;
}

function layout(title, extra, rangemode = "normal") {
  const ink = color("ink-soft");
  const grid = color("line");
  const axis = { gridcolor: grid, zerolinecolor: grid, linecolor: grid, tickfont: { color: ink, size: 11 }, automargin: true };
  return {
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)", font: { family: "inherit", color: ink, size: 11 }, showlegend: false,
    margin: { l: 40, r: 10, t: 6, b: 34 }, hovermode: "x", hoverdistance: -1, dragmode: matchMedia("(pointer: coarse)").matches ? false : "zoom",
    xaxis: { ...axis, title: { text: title, font: { size: 11, color: ink }, standoff: 6 }, showgrid: false },
    yaxis: { ...axis, fixedrange: true, nticks: 5, rangemode }, ...extra,
  };
}

function smoothed(values, weight = 0.8) {
  let mean = null;
  return values.map((value) => {
    if (value === null) return null;
    mean = mean === null ? value : weight * mean + (1 - weight) * value;
    return mean;
  });
}

function nearest(xs, x) {
  let low = 0;
  let high = xs.length - 1;
  if (high < 0) return -1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (xs[middle] <= x) low = middle; else high = middle;
  }
  return Math.abs(xs[low] - x) <= Math.abs(xs[high] - x) ? low : high;
}

function lastIndex(values) {
  let i = values.length - 1;
  while (i >= 0 && values[i] === null) i--;
  return i;
}

// Seconds of each step by phase, stacked.
class TimeSplit {
  constructor(data) {
    this.data = data;
    this.choices = data.runs.flatMap((run, number) => Object.keys(run.stages).map((stage) => ({ number, stage, label: data.runs.length > 1 ? `${run.name}, ${stage}` : stage })));
    this.chosen = Math.max(0, this.choices.findIndex((choice) => choice.stage === "rl"));
  }

  setUp() {
    if (!this.choices.length) { byId("time").hidden = true; return; }
    const select = byId("time-run");
    this.choices.forEach((choice, i) => select.append(element("option", { value: i, selected: i === this.chosen }, choice.label)));
    byId("time-choice").hidden = this.choices.length < 2;
    select.addEventListener("change", () => { this.chosen = Number(select.value); this.draw(); });
    const seen = new IntersectionObserver((entries) => {
      if (entries.some((entry) => entry.isIntersecting)) { seen.disconnect(); this.ready = true; this.draw(); }
    }, { rootMargin: "300px" });
    seen.observe(byId("time-plot"));
  }

  async draw() {
    if (!this.ready) return;
    const { number, stage } = this.choices[this.chosen];
    const { step, split } = this.data.runs[number].stages[stage];
    const used = this.data.phases.filter((phase) => split[phase].some((seconds) => seconds > 0));
    const plotly = await loadLibrary();
    const traces = used.map((phase) => ({ type: "bar", name: phase, x: step, y: split[phase], marker: { color: color(`phase-${phase}`), line: { width: 0 } }, hovertemplate: `${phase} %{y:.2f} s<extra></extra>` }));
    const look = layout("step", { barmode: "stack", bargap: 0.15, hovermode: "x unified", hoverlabel: { bgcolor: color("card"), font: { color: color("ink") } } });
    look.yaxis.title = { text: "seconds", font: { size: 11 } };
    await plotly.react(byId("time-plot"), traces, look, { displayModeBar: false, responsive: true });
    const total = (phase) => split[phase].reduce((sum, seconds) => sum + seconds, 0);
    const all = used.reduce((sum, phase) => sum + total(phase), 0);
    byId("time-readout").replaceChildren(...used.map((phase) => element("span", {}, element("i", { class: "swatch", style: `background:${color(`phase-${phase}`)}` }), `${phase} `,
      element("b", {}, `${Math.round((100 * total(phase)) / all)} %`), element("small", {}, ` ${shortNumber(total(phase))} s`))));
  }
}
