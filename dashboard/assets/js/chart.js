// The chart of a board's page: one dot a prediction, in its class's row, and the latency below, over the last minutes.
const WINDOW_MS = 5 * 60 * 1000;
const CHARTED = 600;
const SVG = "http://www.w3.org/2000/svg";
let points = [];
let labels = new Map();
let drawing = false;

function draw(parent, name, attributes, text) {
  const node = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) node.setAttribute(key, value);
  if (text !== undefined) node.textContent = text;
  parent.append(node);
  return node;
}

function learnLabel(point) {
  if (point[2] !== null && point[3] !== null) labels.set(point[2], point[3]);
}

function startChart() {
  const chart = document.getElementById("chart");
  if (!chart) return;
  points = JSON.parse(chart.dataset.points || "[]");
  labels = new Map();
  points.forEach(learnLabel);
  const scores = document.querySelector("[data-scores]");
  const last = points[points.length - 1];
  if (scores && scores.dataset.scores) drawScores(JSON.parse(scores.dataset.scores), last ? last[2] : null);
  drawChart();
}

function addPoint(reading) {
  if (!document.getElementById("chart")) return;
  const prediction = reading.prediction;
  const point = [Date.parse(reading.at), reading.latency_us, prediction ? prediction.index : null,
    prediction ? prediction.label : null, reading.correct === null ? null : Number(reading.correct),
    prediction ? prediction.score : null];
  learnLabel(point);
  points.push(point);
  if (points.length > CHARTED) points = points.slice(-CHARTED);
  if (drawing) return;
  drawing = true;
  setTimeout(() => requestAnimationFrame(() => { drawing = false; drawChart(); }), 200);
}

function drawChart() {
  const chart = document.getElementById("chart");
  if (!chart) return;
  const last = points.length ? points[points.length - 1][0] : Date.now();
  const shown = points.filter((point) => point[0] >= last - WINDOW_MS);
  chart.replaceChildren();
  if (!shown.length) {
    const empty = document.createElement("p");
    empty.className = "empty";
    empty.textContent = "No readings yet.";
    chart.append(empty);
    return;
  }
  const width = Math.max(260, chart.clientWidth);
  const rows = labels.size ? Math.max(...labels.keys()) + 1 : 0;
  const longest = Math.max(2, ...[...labels.values()].map((label) => String(label).length));
  const left = Math.min(90, Math.max(44, longest * 7 + 12));
  const right = 14;
  const step = rows > 12 ? 12 : 17;
  const top = 8;
  const predicted = Math.min(rows, 24) * step;
  const gap = rows ? 26 : 4;
  const depth = 64;
  const height = top + predicted + gap + depth + 22;
  const first = shown[0][0];
  const span = Math.max(10000, last - first);
  const x = (moment) => left + ((moment - (last - span)) / span) * (width - left - right);
  const y = (row) => top + predicted - ((row + 0.5) / rows) * predicted;
  const svg = draw(chart, "svg", { viewBox: `0 0 ${width} ${height}`, height, role: "img" });

  for (let row = 0; row < rows; row += 1) {
    if (rows > 24 && row % Math.ceil(rows / 12) !== 0) continue;
    draw(svg, "line", { class: "grid", x1: left, x2: width - right, y1: y(row), y2: y(row) });
    if (labels.has(row)) draw(svg, "text", { x: left - 10, y: y(row) + 4, "text-anchor": "end" }, labels.get(row));
  }
  let known = 0;
  let correct = 0;
  for (const [moment, , index, , isRight] of shown) {
    if (index === null) continue;
    const [cx, cy] = [x(moment), y(index)];
    if (isRight === 0) {
      draw(svg, "path", { class: "dot-wrong", d: `M${cx - 4} ${cy - 4}l8 8M${cx + 4} ${cy - 4}l-8 8` });
    } else {
      draw(svg, "circle", { class: isRight === 1 ? "dot-right" : "dot-open", cx, cy, r: 3 });
    }
    if (isRight !== null) { known += 1; correct += isRight; }
  }

  const base = height - 22;
  const timed = shown.filter((point) => point[1] !== null);
  if (timed.length) {
    const most = Math.max(...timed.map((point) => point[1])) * 1.15 || 1;
    const height_of = (value) => base - (value / most) * depth;
    const line = timed.map((point) => `${x(point[0]).toFixed(1)} ${height_of(point[1]).toFixed(1)}`).join("L");
    draw(svg, "path", { class: "area", d: `M${x(timed[0][0]).toFixed(1)} ${base}L${line}L${x(timed[timed.length - 1][0]).toFixed(1)} ${base}Z` });
    draw(svg, "path", { class: "latency", d: `M${line}` });
    draw(svg, "text", { x: left, y: base - depth - 6 }, `latency, at most ${micros(Math.max(...timed.map((point) => point[1])))}`);
  }
  draw(svg, "line", { class: "grid", x1: left, x2: width - right, y1: base, y2: base });
  draw(svg, "text", { x: left, y: height - 6 }, agoSpan(span));
  draw(svg, "text", { x: width - right, y: height - 6, "text-anchor": "end" }, "last reading");
  svg.setAttribute("aria-label", `${shown.length} predictions${known ? `, ${correct} of ${known} right` : ""}`);
  drawLegend(chart, known, correct);
}

function agoSpan(span) {
  return span < 90000 ? `${Math.round(span / 1000)} s earlier` : `${Math.round(span / 60000)} min earlier`;
}

function drawLegend(chart, known, correct) {
  if (!known) return;
  const legend = document.createElement("p");
  legend.className = "legend";
  const entry = (shape, attributes, text) => {
    const span = document.createElement("span");
    const svg = draw(span, "svg", { viewBox: "0 0 12 12", "aria-hidden": "true" });
    draw(svg, shape, attributes);
    span.append(` ${text}`);
    legend.append(span);
  };
  entry("circle", { class: "dot-right", cx: 6, cy: 6, r: 3.5 }, `${correct} right`);
  entry("path", { class: "dot-wrong", d: "M2.5 2.5l7 7M9.5 2.5l-7 7" }, `${known - correct} wrong`);
  const share = document.createElement("span");
  share.textContent = `${percent(correct / known)} in this chart`;
  legend.append(share);
  chart.append(legend);
}

function drawScores(outputs, top) {
  const scores = document.querySelector("[data-scores]");
  if (!scores || !outputs || outputs.length < 2 || outputs.length > 24) return;
  const [wide, high, floor] = [220, 84, 68];
  const least = Math.min(0, ...outputs);
  const most = Math.max(...outputs, least + 1e-6);
  const slot = wide / outputs.length;
  scores.replaceChildren();
  const svg = draw(scores, "svg", { viewBox: `0 0 ${wide} ${high}` });
  outputs.forEach((value, index) => {
    const size = Math.max(2, ((value - least) / (most - least)) * (floor - 4));
    draw(svg, "rect", { class: index === top ? "score top" : "score", x: index * slot + slot * 0.18,
      y: floor - size, width: slot * 0.64, height: size, rx: 2 });
    draw(svg, "text", { x: (index + 0.5) * slot, y: high - 3, "text-anchor": "middle" }, labels.get(index) ?? index);
  });
}
