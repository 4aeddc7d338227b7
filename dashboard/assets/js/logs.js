// The log: lines are added at the end, and the view follows them while it is at the end.
const MOST_LINES = 800;
let recentBatches = [];

function takeLogs(batch) {
  recentBatches.push(batch);
  if (recentBatches.length > 100) recentBatches = recentBatches.slice(-100);
  appendLogs(batch);
}

function appendLogs(batch) {
  const log = document.querySelector("[data-log]");
  if (!log) return;
  const only = log.parentElement.dataset.command;
  if (only && only !== batch.command) return;
  const last = log.lastElementChild;
  if (last && last.dataset.journal === batch.journal && Number(last.dataset.seq) >= batch.seq) return;
  const atEnd = log.scrollHeight - log.scrollTop - log.clientHeight < 40;
  for (const line of batch.lines) {
    const row = document.createElement("p");
    row.className = `line ${batch.phase}`;
    row.dataset.seq = batch.seq;
    row.dataset.journal = batch.journal;
    const time = document.createElement("time");
    time.dateTime = line.at;
    time.setAttribute("data-clock", "");
    const phase = document.createElement("span");
    phase.className = "phase";
    phase.textContent = batch.phase;
    const text = document.createElement("span");
    text.className = "text";
    text.textContent = line.text;
    row.append(time, " ", phase, " ", text);
    showTimes(row);
    log.append(row);
  }
  while (log.children.length > MOST_LINES) log.firstElementChild.remove();
  if (atEnd) log.scrollTop = log.scrollHeight;
}

function reapplyLogs() {
  for (const batch of recentBatches) appendLogs(batch);
}

function showLogEnd() {
  const log = document.querySelector("[data-log]");
  if (log) log.scrollTop = log.scrollHeight;
}
