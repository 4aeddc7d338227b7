// The page's stream of events, and the regions that are fetched again when something that they show has changed.
const SOON_MS = 150;
// The cloud stores an event about when the browser hears of it: what was fetched soon is fetched again a little later.
const LATER_MS = 1500;
const TICK_MS = 5000;
let wanted = new Set();
let timer = null;
let fetching = false;
let lastTick = 0;

function refresh(...kinds) {
  kinds.forEach((kind) => wanted.add(kind));
  if (timer === null) timer = setTimeout(fetchRegions, SOON_MS);
}

async function fetchRegions() {
  timer = null;
  if (fetching) { timer = setTimeout(fetchRegions, SOON_MS); return; }
  const kinds = wanted;
  wanted = new Set();
  fetching = true;
  try {
    const headers = { Accept: "text/html" };
    if (!kinds.has("open")) headers["X-Refresh-Light"] = "1";
    const response = await fetch(location.href.split("#")[0], { headers, cache: "no-store" });
    if (response.redirected && new URL(response.url).pathname === "/login") { location.reload(); return; }
    if (!response.ok) return;
    replaceRegions(new DOMParser().parseFromString(await response.text(), "text/html"), kinds);
  } catch {
    // The stream notices, too, and comes here again when it is back.
  } finally {
    fetching = false;
  }
}

function replaceRegions(fresh, kinds) {
  for (const region of document.querySelectorAll("[data-refresh]")) {
    if (!region.dataset.refresh.split(" ").some((kind) => kinds.has(kind))) continue;
    const next = fresh.getElementById(region.id);
    const active = region.contains(document.activeElement) ? document.activeElement : null;
    if (!next || (active && active.matches("input, select"))) continue;
    const focusable = "a, button, summary, [tabindex]";
    const index = active ? [...region.querySelectorAll(focusable)].indexOf(active) : -1;
    const open = [...region.querySelectorAll("details")].map((details) => details.open);
    const node = document.adoptNode(next);
    node.querySelectorAll("details").forEach((details, nth) => { details.open = open[nth] ?? false; });
    showTimes(node);
    region.replaceWith(node);
    if (index >= 0) node.querySelectorAll(focusable)[index]?.focus({ preventScroll: true });
  }
  if (kinds.has("open")) { startChart(); reapplyLogs(); showLogEnd(); }
  reapplyReadings();
}

function showState(state, text) {
  const live = document.getElementById("live");
  if (!live) return;
  live.hidden = false;
  live.dataset.state = state;
  const words = document.getElementById("live-text");
  if (words.textContent !== text) words.textContent = text;
}

let source = null;

function follow(address) {
  source?.close();
  source = new EventSource(address);
  const own = source;
  const on = (name, take) => own.addEventListener(name, (event) => take(JSON.parse(event.data)));
  own.addEventListener("open", () => refresh("open", "presence", "state", "event", "cloud"));
  on("feed", ({ connected }) => {
    if (connected) showState("live", "Live");
    else showState("away", "Broker away");
  });
  for (const kind of ["presence", "state", "event", "cloud"]) {
    on(kind, () => { refresh(kind); setTimeout(() => refresh(kind), LATER_MS); });
  }
  on("reading", (reading) => {
    takeReading(reading);
    if (Date.now() - lastTick > TICK_MS) { lastTick = Date.now(); refresh("tick"); }
  });
  on("logs", takeLogs);
  own.addEventListener("error", () => {
    showState("away", "Reconnecting…");
    if (own.readyState !== EventSource.CLOSED) return;
    // Refused, not cut: the session may have ended, or the cloud is away. The page itself finds out.
    refresh("open");
    setTimeout(() => { if (source === own) follow(address); }, 3000);
  });
}

// A browser has few connections for one site: a page that nobody sees gives its own back.
function followWhileSeen(address) {
  const start = () => {
    if (!document.hidden) { follow(address); return; }
    source?.close();
    source = null;
  };
  document.addEventListener("visibilitychange", start);
  start();
}
