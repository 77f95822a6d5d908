// Keeps what is shown true: draws it again after a change, and from time to time.
import { listen, tellsAll } from "./changes.js";

// The shortest time between two drawings, in milliseconds. However much changes, a person sees no more.
const SHORTEST = 1000;
// A slow answer is work for the server. So the page waits this many times as long before it asks again, up to a bound.
const PATIENCE = 20;
const LONGEST = 10_000;
// Even if the feed tells everything, the page asks now and then, because some figures change without an event.
const ALSO = 15;

// Draws now, again after each change for which `watches(changes)` is true, and each `every` seconds: more seldom while
// the feed is live. A hidden page asks for nothing. `failed(error)` is true if it goes on after an error.
export async function keep(draw, { every, watches }, ended, failed) {
  let stale = false;
  let wake = () => {};
  const unlisten = watches ? listen((changes) => {
    if (!changes.many && !watches(changes)) return;
    stale = true;
    wake();
  }) : () => {};
  const seen = () => wake();
  document.addEventListener("visibilitychange", seen);
  const pause = (ms, early) => new Promise((resolve) => {
    const done = () => { clearTimeout(timer); ended.removeEventListener("abort", done); wake = () => {}; resolve(); };
    const timer = setTimeout(done, ms);
    if (early) wake = done;
    ended.addEventListener("abort", done, { once: true });
  });
  while (!ended.aborted) {
    if (!document.hidden) {
      stale = false;
      const begun = performance.now();
      try {
        await draw();
      } catch (error) {
        if (ended.aborted || !(await failed(error))) break;
      }
      await pause(Math.min(Math.max(SHORTEST, PATIENCE * (performance.now() - begun)), LONGEST), false);
    }
    if (!every && !watches) break;
    if (!ended.aborted && (!stale || document.hidden)) await pause(1000 * (watches && tellsAll() ? Math.max(ALSO, every ?? 0) : every ?? ALSO), true);
  }
  unlisten();
  document.removeEventListener("visibilitychange", seen);
}
