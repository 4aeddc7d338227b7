// Times: "3 min ago" kept true, and clock times in the browser's own zone.
function agoText(moment) {
  const seconds = Math.max(0, Math.floor((Date.now() - moment) / 1000));
  if (seconds < 2) return "just now";
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86400)} d ago`;
}

function showTimes(root) {
  for (const time of root.querySelectorAll("time[datetime]")) {
    const moment = Date.parse(time.dateTime);
    if (Number.isNaN(moment)) continue;
    const text = time.hasAttribute("data-clock")
      ? new Date(moment).toTimeString().slice(0, 8)
      : agoText(moment);
    if (time.textContent !== text) time.textContent = text;
    const full = new Date(moment).toLocaleString();
    if (time.title !== full) time.title = full;
  }
}
