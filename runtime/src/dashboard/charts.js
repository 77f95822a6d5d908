// Charts of what happened: requests, deliveries, latencies, and what waited. The server has the figures of each minute.
import { call, element, fill } from "./shared/dom.js";
import { duration, short } from "./shared/format.js";
import { text } from "./table.js";

const library = import("./uplot.js"); // the page is drawn while it loads
const HEIGHT = 190;
const RANGES = [["15m", "15 min", 10], ["1h", "1 hour", 10], ["24h", "24 hours", 60], ["7d", "7 days", 60]];

const count = (value) => (value === null ? "–" : Math.round(value).toLocaleString("en"));
const rate = (value) => (value === null ? "–" : value >= 10 ? count(value) : String(Number(value.toPrecision(2))));
const time = (value) => (value === null ? "–" : value === 0 ? "0" : duration(value * 1000));
const perSecond = (counts, series) => counts.map((value, at) => value / series.seconds[at]);

// Each chart: its title, whether it is about routes or origins, and its lines. A line: label, colour, values, how they are
// written, and whether its scale is on the right.
const CHARTS = [
  { title: "Requests per second", of: "route", lines: [
    ["accepted", "a", (s) => perSecond(s.requests.accepted, s), rate],
    ["completed", "b", (s) => perSecond(s.requests.completed, s), rate],
    ["failed", "c", (s) => perSecond(s.requests.failed, s), rate],
  ] },
  { title: "Deliveries per second", of: "origin", lines: [
    ["delivered", "b", (s) => perSecond(s.deliveries.delivered, s), rate],
    ["failed attempts", "c", (s) => perSecond(s.deliveries.failed_attempts, s), rate],
    ["dead", "d", (s) => perSecond(s.deliveries.dead, s), rate],
  ] },
  { title: "How long runs take", of: "route", lines: [
    ["half within", "a", (s) => s.runs.p50, time], ["99 % within", "d", (s) => s.runs.p99, time],
  ] },
  { title: "From the end of a run until its report is delivered", of: "origin", lines: [
    ["half within", "a", (s) => s.delivery_times.p50, time], ["99 % within", "d", (s) => s.delivery_times.p99, time],
  ] },
  { title: "Waiting requests", of: "route", lines: [
    ["waiting", "a", (s) => s.waiting.queued, count],
    ["oldest", "d", (s) => s.waiting.oldest_request_seconds, time, "right"],
  ] },
  { title: "Waiting deliveries", of: "nothing", lines: [
    ["to deliver", "a", (s) => s.waiting.undelivered, count],
    ["oldest", "d", (s) => s.waiting.oldest_delivery_seconds, time, "right"],
  ] },
];

const two = (number) => String(number).padStart(2, "0");
function moment(seconds, withDay, withTime = true) {
  const date = new Date(seconds * 1000);
  const day = `${two(date.getMonth() + 1)}-${two(date.getDate())}`;
  const clock = `${two(date.getHours())}:${two(date.getMinutes())}`;
  return withDay && withTime ? `${day} ${clock}` : withDay ? day : clock;
}

function color(name) {
  return getComputedStyle(document.documentElement).getPropertyValue(name).trim();
}

// Makes the drawing of a chart. `onPoint` gets the number of the point under the pointer, or null.
function plot(UPlot, place, chart, data, onPoint) {
  const scale = (line) => (line[4] ? "right" : "left");
  const axis = (name, line, side) => ({
    scale: name, side, size: 62, stroke: () => color("--dim"), font: "12px system-ui, sans-serif", ticks: { show: false },
    grid: { show: name === "left", stroke: () => color("--line"), width: 1 }, values: (_, splits) => splits.map(line[3]),
  });
  const [left, right] = [chart.lines.find((line) => !line[4]), chart.lines.find((line) => line[4])];
  const range = (_, __, most) => [0, most > 0 ? most * 1.1 : 1];
  return new UPlot({
    width: Math.max(place.clientWidth, 200), height: HEIGHT, legend: { show: false }, padding: [8, 14, 0, 0],
    cursor: { y: false, drag: { x: false, y: false }, points: { size: 7 } },
    scales: { x: { time: true }, left: { range }, right: { range } },
    series: [{}, ...chart.lines.map((line) => ({
      scale: scale(line), stroke: () => color(`--line-${line[1]}`), width: 2, spanGaps: false,
    }))],
    axes: [
      { stroke: () => color("--dim"), font: "12px system-ui, sans-serif", ticks: { show: false }, space: 70, size: 30,
        grid: { show: false }, values: (_, splits, __, ___, step) => splits.map((at) => moment(at, step >= 86_400, step < 86_400)) },
      axis("left", left, 3), ...(right ? [axis("right", right, 1)] : []),
    ],
    hooks: { setCursor: [(drawn) => onPoint(drawn.cursor.idx ?? null)] },
  }, data, place);
}

// A chart with its legend, a sentence for those who do not see it, and its numbers as a table.
function panel(UPlot, chart, ended) {
  const place = element("div", { class: "chart", role: "img" });
  const values = chart.lines.map(() => document.createTextNode(""));
  const when = element("li", { class: "dim" });
  const legend = element("ul", { class: "row legend" }, chart.lines.map(([label, line], at) =>
    element("li", { class: `line-${line}` }, `${label} `, values[at])));
  const numbers = element("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": `${chart.title}, as a table` });
  const details = element("details", {}, element("summary", {}, "As a table"), numbers);
  const shown = element("figure", { class: "panel stack" }, element("figcaption", {}, chart.title), legend, place, details);
  let drawn = null, data = [[]], withDay = false;
  // Without a pointer, the legend tells the last point that is known.
  const tell = (at) => {
    values.forEach((node, line) => {
      const known = data[line + 1] ?? [];
      const value = at === null ? known.findLast((one) => one !== null) ?? null : known[at] ?? null;
      node.textContent = chart.lines[line][3](value);
    });
    when.textContent = at === null ? "" : moment(data[0][at], withDay);
    if (at === null) when.remove(); else legend.append(when);
  };
  const list = () => {
    if (!details.open) return;
    const rows = data[0].map((at, point) => element("tr", {}, element("th", { scope: "row" }, moment(at, withDay)),
      chart.lines.map((line, n) => element("td", {}, line[3](data[n + 1][point])))));
    fill(numbers, element("table", {}, element("thead", {}, element("tr", {}, element("th", { scope: "col" }, "from"),
      chart.lines.map(([label]) => element("th", { scope: "col" }, label)))), element("tbody", {}, rows.reverse())));
  };
  details.addEventListener("toggle", list);
  const resized = new ResizeObserver(() => drawn?.setSize({ width: Math.max(place.clientWidth, 200), height: HEIGHT }));
  resized.observe(place);
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const recolor = () => drawn?.redraw();
  dark.addEventListener("change", recolor);
  const end = () => { resized.disconnect(); dark.removeEventListener("change", recolor); drawn?.destroy(); drawn = null; };
  ended.addEventListener("abort", end, { once: true });
  return {
    shown,
    update(series) {
      withDay = series.step_seconds > 60;
      data = [series.at, ...chart.lines.map((line) => line[2](series))];
      if (drawn) drawn.setData(data); else drawn = plot(UPlot, place, chart, data, tell);
      tell(null);
      const sentence = chart.lines.map(([label, , , write], line) => {
        const known = data[line + 1].filter((value) => value !== null);
        return known.length ? `${label} ${write(known[known.length - 1])}, at most ${write(Math.max(...known))}` : `${label} unknown`;
      });
      place.setAttribute("aria-label", `${chart.title}: ${sentence.join("; ")}`);
      list();
    },
    end,
  };
}

// Makes the charts. `refresh()` reads the figures again when they may have changed.
export function charts(ended) {
  let [range, , pause] = RANGES[1];
  let scope = "", panels = null, read = 0, asked = 0;
  const area = element("div", { class: "charts" });
  const problem = element("div", {});
  const buttons = RANGES.map(([name, label]) => element("button", { type: "button", onclick: () => {
    [range, , pause] = RANGES.find((one) => one[0] === name);
    press();
    load();
  } }, label));
  const press = () => RANGES.forEach(([name], at) => buttons[at].setAttribute("aria-pressed", String(name === range)));
  press();
  const choice = element("select", { name: "scope", onchange: () => {
    scope = choice.value;
    panels?.forEach((one) => one.end());
    panels = null;
    load();
  } });
  let names = "";
  const offer = (series) => {
    const now = JSON.stringify([series.routes, series.origins]);
    if (now === names) return;
    names = now;
    const group = (label, kind, all) => (all.length ? element("optgroup", { label },
      all.map((name) => element("option", { value: `${kind}=${name}` }, text(short(name, 80))))) : null);
    fill(choice, element("option", { value: "" }, "everything"), group("Routes", "route", series.routes),
      group("Origins", "origin", series.origins));
    choice.value = scope;
    if (choice.value !== scope) choice.append(element("option", { value: scope, selected: true }, text(scope)));
  };
  const load = async () => {
    const mine = asked += 1;
    read = performance.now();
    const query = new URLSearchParams({ range });
    const [kind] = scope.split("=", 1);
    if (scope) query.set(kind, scope.slice(kind.length + 1));
    let series, UPlot;
    try {
      [series, { default: UPlot }] = await Promise.all([call("GET", `api/series?${query}`), library]);
    } catch (error) {
      if (mine === asked && !ended.aborted) fill(problem, element("p", { class: "bad", role: "alert" }, error.message));
      return;
    }
    // Another range may have been asked for while this one came.
    if (mine !== asked || ended.aborted) return;
    fill(problem);
    offer(series);
    if (!panels) {
      panels = CHARTS.filter((chart) => !scope || chart.of === kind).map((chart) => panel(UPlot, chart, ended));
      fill(area, panels.map((one) => one.shown));
    }
    panels.forEach((one) => one.update(series));
  };
  return {
    shown: element("section", { class: "stack", "aria-label": "charts" },
      element("div", { class: "row" }, element("div", { class: "row", role: "group", "aria-label": "range" }, buttons),
        element("label", {}, "of", choice)), problem, area),
    refresh: () => (performance.now() - read >= pause * 1000 - 500 || read === 0 ? load() : undefined),
  };
}
