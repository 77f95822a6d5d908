// What changes on the server, as it changes. One connection serves the whole page, while somebody sees it.
import { follow } from "./shared/live.js";

const listeners = new Set();
const watchers = new Set();
let feed = null;
let live = false;
let shared = false; // whether other nodes change the rows, too, which this feed does not tell

function tell(changes) {
  for (const listener of listeners) listener(changes);
}

function become(state) {
  live = state === "live";
  for (const watcher of watchers) watcher(live);
}

// Opens the feed. Each time it opens, whatever changed before is to be read again, so nothing is lost by a break.
export function start() {
  feed ??= follow("api/changes?every=1s", { ready: (data) => { shared = data.shared; tell({ many: true }); }, changes: tell }, become);
}

export function stop() {
  feed?.close();
  feed = null;
  become("lost");
}

// Whether every change is told.
export const tellsAll = () => live && !shared;

// Calls the function with each set of changes: { requests: [{ id, status }], deliveries: [{ id, status, subject }] }, or
// { many: true } if they are not known one by one. Returns what ends that.
export function listen(listener) {
  listeners.add(listener);
  return () => listeners.delete(listener);
}

export function onState(watcher) {
  watchers.add(watcher);
  watcher(live);
}
