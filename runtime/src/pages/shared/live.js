// Server-sent events that lose nothing. The browser reconnects by itself and names the last event that it has. If the
// server is gone for longer, or refuses, this file connects again, and names the last event in the address.

const LONGEST_WAIT = 10_000;

// follow("api/feed", { hit: (data) => …, clear: … }, (state) => …). `state` is "live" or "lost".
// Returns { close() }.
export function follow(address, listeners, onState = () => {}) {
  let source, last = "", wait = 500, timer, closed = false;
  const open = () => {
    const joint = address.includes("?") ? "&" : "?";
    source = new EventSource(last ? `${address}${joint}last=${encodeURIComponent(last)}` : address);
    source.onopen = () => { wait = 500; onState("live"); };
    source.onerror = () => {
      onState("lost");
      if (source.readyState !== EventSource.CLOSED || closed) return;
      clearTimeout(timer);
      timer = setTimeout(open, wait);
      wait = Math.min(wait * 2, LONGEST_WAIT);
    };
    for (const [name, listener] of Object.entries(listeners)) {
      source.addEventListener(name, (event) => {
        if (closed) return;
        if (event.lastEventId) last = event.lastEventId;
        listener(JSON.parse(event.data));
      });
    }
  };
  // A page that nobody sees needs no feed, and a browser has few connections to one server. Nothing is lost meanwhile.
  const turn = () => {
    if (document.hidden) { clearTimeout(timer); source.close(); }
    else if (source.readyState === EventSource.CLOSED) open();
  };
  document.addEventListener("visibilitychange", turn);
  open();
  return {
    close() {
      closed = true;
      clearTimeout(timer);
      document.removeEventListener("visibilitychange", turn);
      source.close();
    },
  };
}
