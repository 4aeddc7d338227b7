// Readings: the newest of each board, and the list on a board's page. The server drew the first ones in the same markup.
const LISTED = 24;
const newest = new Map();
let recent = [];

function micros(value) {
  const short = (number) => number.toFixed(number < 9.95 ? 1 : 0).replace(/\.0$/, "");
  if (value < 1000) return `${value} µs`;
  return value < 1e6 ? `${short(value / 1000)} ms` : `${short(value / 1e6)} s`;
}

function percent(share) {
  const tenths = Math.floor(Math.min(1, Math.max(0, share)) * 1000 + 1e-6) / 10;
  return tenths >= 100 ? "100%" : `${tenths.toFixed(1)}%`;
}

function fillReading(element, reading) {
  const field = (name) => element.querySelector(`[data-f="${name}"]`);
  const picture = field("picture");
  if (reading.picture) {
    picture.src = reading.picture.src;
    picture.width = reading.picture.width;
    picture.height = reading.picture.height;
  }
  picture.hidden = !reading.picture;
  field("label").textContent = reading.label;
  const verdict = field("verdict");
  const known = reading.correct !== null;
  verdict.className = `verdict ${known ? (reading.correct ? "right" : "wrong") : "open"}`;
  verdict.textContent = known ? `${reading.correct ? "✓" : "✗"} expected ${reading.expected}` : reading.expected || "";
  field("score").textContent = reading.prediction ? percent(reading.prediction.score) : "";
  field("latency").textContent = reading.latency_us === null ? "" : micros(reading.latency_us);
  field("at").dateTime = reading.at;
  element.classList.remove("is-blank");
  element.dataset.seq = reading.seq;
  element.dataset.journal = reading.journal;
  showTimes(element);
}

function isNewer(element, reading) {
  return element.dataset.journal !== reading.journal || Number(element.dataset.seq) < reading.seq;
}

function showNewest(reading) {
  const key = `${reading.relay}/${reading.device}`;
  for (const card of document.querySelectorAll("[data-device-card]")) {
    if (card.dataset.deviceCard !== key) continue;
    const element = card.querySelector("[data-reading]");
    if (isNewer(element, reading)) fillReading(element, reading);
  }
}

function listReading(reading) {
  const list = document.getElementById("stream");
  const template = document.getElementById("stream-item");
  if (!list || !template) return;
  const first = list.querySelector("[data-reading]");
  if (first && !isNewer(first, reading)) return;
  const item = template.content.cloneNode(true).firstElementChild;
  fillReading(item.querySelector("[data-reading]"), reading);
  item.classList.add("fresh");
  list.prepend(item);
  while (list.children.length > LISTED) list.lastElementChild.remove();
  document.getElementById("stream-empty")?.remove();
  const now = document.querySelector("#now [data-reading]");
  if (now) fillReading(now, reading);
  drawScores(reading.outputs, reading.prediction ? reading.prediction.index : null);
  addPoint(reading);
}

function takeReading(reading) {
  newest.set(`${reading.relay}/${reading.device}`, reading);
  recent.push(reading);
  if (recent.length > LISTED) recent = recent.slice(-LISTED);
  showNewest(reading);
  listReading(reading);
}

// After a region was fetched again it may be a moment behind what was live already.
function reapplyReadings() {
  for (const reading of newest.values()) showNewest(reading);
  for (const reading of recent) listReading(reading);
  const last = recent[recent.length - 1];
  if (last) drawScores(last.outputs, last.prediction ? last.prediction.index : null);
}
