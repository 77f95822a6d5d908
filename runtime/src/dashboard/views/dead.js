// Dead letters: deliveries that ended without success, and replay of one, of a selection, and of all that match.
import { ask } from "../ask.js";
import { button, call, element, fill, toast } from "../shared/dom.js";
import { list } from "../list.js";
import { text, time } from "../table.js";

const STATUSES = ["dead", "gone", "refused"];
// How often the page asks how far a replay has come.
const EVERY = 500;

function sentence(job) {
  const counts = `${job.replayed} sent again, ${job.skipped} not`;
  if (job.state === "failed") return `Replay failed: ${text(job.error)} (${counts})`;
  return `Replay ${job.state === "running" ? "goes on" : job.state}: ${counts}`;
}

// The number of deliveries that a replay goes through is known if their ids were named, or if the page has counted them.
function bar(job, counted) {
  const total = job.selection.ids?.length ?? counted;
  const known = total ? { max: total } : {};
  const made = element("progress", { "aria-label": "progress of the replay", ...known });
  if (total) made.value = Math.min(job.replayed + job.skipped, total);
  return made;
}

function showJob(place, job, stop, counted) {
  const running = job.state === "running";
  const kept = running ? place.querySelector("button") : null;
  fill(place, running ? bar(job, counted) : null,
    element("span", { class: job.state === "failed" ? "bad" : "", role: running ? null : "status" }, sentence(job)),
    // The same button stays, so that it keeps the focus.
    running ? kept ?? button("Stop", stop) : null);
}

// Shows a replay until its end.
async function follow(place, job, ended, load, counted) {
  const path = `api/replays/${encodeURIComponent(job.id)}`;
  const stop = () => call("DELETE", path).catch((error) => toast(error.message));
  try {
    while (!ended.aborted) {
      showJob(place, job, stop, counted);
      if (job.state !== "running") break;
      await new Promise((resolve) => { setTimeout(resolve, EVERY); });
      if (!document.hidden) job = await call("GET", path);
    }
  } catch (error) {
    fill(place, element("span", { class: "bad", role: "alert" }, error.message));
  }
  if (!ended.aborted) load();
}

// The newest replay, if it still runs: this page may have been opened while it does.
async function latest(place, ended, load) {
  const [job] = (await call("GET", "api/replays").catch(() => ({ items: [] }))).items;
  if (job?.state === "running" && !ended.aborted) follow(place, job, ended, load);
}

async function one(id) {
  try {
    await call("POST", `api/deliveries/${encodeURIComponent(id)}/replay`);
    toast("sent again");
  } catch (error) {
    toast(error.message);
  }
}

function said({ status: of, url, since, until }, { count, more }) {
  const parts = [url && `to URLs that begin with ${text(url)}`, since && `since ${text(since)}`, until && `until ${text(until)}`];
  const many = more ? `more than ${count.toLocaleString()}` : count.toLocaleString();
  return `Send every delivery with the status ${of} again${parts.filter(Boolean).map((part) => `, ${part}`).join("")}? There are ${many}. ` +
    "Deliveries that were sent again before are sent once more.";
}

function draw(into, _, ended) {
  const chosen = new Set();
  const send = button("", null, { class: "main", disabled: true });
  const count = () => {
    send.textContent = `Send ${chosen.size} chosen again`;
    send.disabled = chosen.size === 0;
  };
  const clear = () => { chosen.clear(); count(); };
  count();
  const above = (filters, load) => {
    const place = element("div", { class: "row" });
    const start = async (selection, counted) => {
      try {
        const job = await call("POST", "api/replays", selection);
        clear();
        for (const box of into.querySelectorAll("input[name=chosen]")) box.checked = false;
        follow(place, job, ended, load, counted);
      } catch (error) {
        toast(error.message);
      }
    };
    send.addEventListener("click", () => start({ ids: [...chosen] }));
    const all = async () => {
      const selection = Object.fromEntries(Object.entries(filters).filter(([, value]) => value));
      try {
        const counted = await call("POST", "api/replays/count", selection);
        if (await ask(said(selection, counted), "Send all again")) start(selection, counted.more ? undefined : counted.count);
      } catch (error) {
        toast(error.message);
      }
    };
    const shown = () => {
      for (const box of into.querySelectorAll("input[name=chosen]")) { box.checked = true; chosen.add(box.value); }
      count();
    };
    latest(place, ended, load);
    return [element("div", { class: "row" }, button("Choose all shown", shown), send, button("Send all that match again", all)), place];
  };
  return list(into, ended, {
    name: "Dead letters", path: "api/deliveries", above, changed: clear, isBusy: () => chosen.size > 0,
    fields: [["status", "Status", STATUSES, "dead"], ["url", "URL begins with", null], ["since", "Since (2h, or a time)", null], ["until", "Until", null]],
    // The filter says the status of all rows.
    columns: ["chosen", "delivery", "url", "attempts", "ended", "last answer", "again"],
    row: (delivery) => [
      element("input", { type: "checkbox", name: "chosen", value: delivery.id, checked: chosen.has(delivery.id),
        "aria-label": `choose ${text(delivery.id)}`,
        onchange: (event) => { chosen[event.target.checked ? "add" : "delete"](delivery.id); count(); } }),
      element("a", { class: "mono", href: `#deliveries/${encodeURIComponent(delivery.id)}` }, text(delivery.id)),
      text(delivery.url), String(delivery.attempts), time(delivery.finished),
      text(delivery.refused ?? delivery.last_attempt?.status ?? delivery.last_attempt?.error),
      button("Send again", () => one(delivery.id))],
  });
}

export const dead = { name: "dead", title: "Dead letters", every: 5, draw,
  watches: ({ deliveries }) => deliveries.some(({ status }) => STATUSES.includes(status)) };
