"""The page around the report: style, marks to fill, and the few lines of script that draw the figures."""

PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta http-equiv="Content-Security-Policy"
  content="default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:">
<link rel="icon" href="data:,">
<title>{{title}} · scaling report</title>
<style>
:root { --ink: #1a1a1a; --muted: #5b6470; --line: #e2e5ea; --accent: #0072b2; }
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: #fff; line-height: 1.5; font-size: 15px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header p { margin: 0; color: var(--muted); }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; letter-spacing: -.005em; }
p { margin: .5rem 0; max-width: 46rem; }
.note { color: var(--muted); font-size: .87rem; }
.equation { font-family: ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; font-size: .95rem;
  padding: .6rem .9rem; border-left: 3px solid var(--accent); background: #f6f8fa; max-width: none; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1.25rem;
  margin: 1.75rem 0 0; padding: 1.25rem 0; border-top: 1px solid var(--line);
  border-bottom: 1px solid var(--line); }
.tiles b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.25; letter-spacing: -.01em;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--muted); font-size: .85rem; line-height: 1.35; display: block; }
.figure { width: 100%; height: 30rem; }
.figure.low { height: 20rem; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-size: .87rem; font-variant-numeric: tabular-nums; min-width: 40%; }
th, td { padding: .32rem 1.1rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th { font-weight: 600; color: var(--muted); white-space: nowrap; border-bottom-color: #b8bfc9; }
td:last-child, th:last-child { padding-right: 0; }
tfoot td { font-weight: 600; border-bottom: 0; border-top: 1px solid #b8bfc9; }
.number { text-align: right; white-space: nowrap; }
.text { text-align: left; overflow-wrap: anywhere; min-width: 6.5rem; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; } .figure { height: 24rem; } .tiles { gap: .9rem; }
}
@media print {
  @page { margin: 14mm; } main { max-width: none; padding: 0; } body { font-size: 10.5pt; }
  .scroll { overflow: visible; } table { font-size: 8pt; } th, td { padding-right: .6rem; }
  h2 { break-after: avoid; } section, tr, .figure, .tiles { break-inside: avoid; }
  thead { display: table-header-group; }
  .equation { background: #fff; } .modebar { display: none !important; }
}
</style>
</head>
<body>
<main>
<header><h1>{{title}}</h1><p>Scaling report</p></header>
{{body}}
<noscript><p>The figures need JavaScript; the tables do not.</p></noscript>
</main>
<script type="application/json" id="figures">{{figures}}</script>
<script>{{plotly}}</script>
<script>
(function () {
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var options = { responsive: true, displaylogo: false, modeBarButtonsToRemove: ["lasso2d", "select2d"] };
  Object.keys(figures).forEach(function (name) {
    var figure = figures[name];
    if (window.innerWidth < 640) {
      figure.layout.legend = { orientation: "h", y: -0.34, font: { size: 10 } };
      options.displayModeBar = false;
    }
    Plotly.newPlot(name, figure.data, figure.layout, options);
  });
  function fit() {
    Object.keys(figures).forEach(function (name) { Plotly.Plots.resize(document.getElementById(name)); });
  }
  window.addEventListener("beforeprint", fit);
  window.addEventListener("afterprint", fit);
})();
</script>
</body>
</html>
"""
