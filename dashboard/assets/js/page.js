// Starts everything that the page has.
showTimes(document);
setInterval(() => showTimes(document), 5000);
startChart();
showLogEnd();
startUploads();
addEventListener("resize", drawChart);
if (document.body.dataset.live) followWhileSeen(document.body.dataset.live);
