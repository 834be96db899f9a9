"""The HTML page of the report: style, placeholders, and the script that draws the figures."""

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
:root { color-scheme: light; --ink: #1a1a1a; --muted: #5b6470; --line: #e2e5ea; --strong: #b8bfc9;
  --accent: #0072b2; --paper: #ffffff; --raised: #f6f8fa; --shade: rgba(0, 0, 0, .14); }
@media screen and (prefers-color-scheme: dark) {
  :root { color-scheme: dark; --ink: #e7e9ec; --muted: #a3adba; --line: #2c323b; --strong: #4b5563;
    --accent: #5db0e6; --paper: #14171c; --raised: #1d2229; --shade: rgba(0, 0, 0, .6); }
}
* { box-sizing: border-box; }
body { margin: 0; color: var(--ink); background: var(--paper); line-height: 1.5; font-size: 15px;
  font-family: system-ui, -apple-system, "Segoe UI", Roboto, "Liberation Sans", sans-serif; }
main { max-width: 74rem; margin: 0 auto; padding: 2.5rem 1.25rem 4rem; }
header p { margin: 0; color: var(--muted); }
h1 { font-size: 1.75rem; line-height: 1.2; margin: 0 0 .25rem; letter-spacing: -.01em;
  overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2.75rem 0 .75rem; letter-spacing: -.005em; }
p { margin: .5rem 0; max-width: 46rem; }
.note { color: var(--muted); font-size: .87rem; }
.equation { font-family: ui-monospace, Menlo, Consolas, "Liberation Mono", monospace; font-size: .95rem;
  padding: .6rem .9rem; border-left: 3px solid var(--accent); background: var(--raised); max-width: none;
  overflow-wrap: anywhere; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(9.5rem, 1fr)); gap: 1.25rem;
  margin: 1.75rem 0 0; padding: 1.25rem 0; border-top: 1px solid var(--line);
  border-bottom: 1px solid var(--line); }
.tiles b { display: block; font-size: 1.5rem; font-weight: 600; line-height: 1.25; letter-spacing: -.01em;
  white-space: nowrap; font-variant-numeric: tabular-nums; }
.tiles span { color: var(--muted); font-size: .85rem; line-height: 1.35; display: block; }
.figure { width: 100%; height: 30rem; }
.figure.low { height: 21rem; }
.grid { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(16rem, 100%), 1fr)); gap: .5rem; }
.grid .figure { height: 15rem; }
/* A table wider than the page scrolls within its box; shadows show where there is more of it. */
.scroll { overflow-x: auto; max-width: 100%; background:
  linear-gradient(to right, var(--paper) 30%, transparent) left / 2.5rem 100% local no-repeat,
  linear-gradient(to left, var(--paper) 30%, transparent) right / 2.5rem 100% local no-repeat,
  linear-gradient(to right, var(--shade), transparent) left / .8rem 100% scroll no-repeat,
  linear-gradient(to left, var(--shade), transparent) right / .8rem 100% scroll no-repeat; }
table { border-collapse: collapse; font-size: .84rem; font-variant-numeric: tabular-nums; min-width: 40%; }
th, td { padding: .32rem 1rem .32rem 0; border-bottom: 1px solid var(--line); vertical-align: baseline; }
th { font-weight: 600; color: var(--muted); border-bottom-color: var(--strong); vertical-align: bottom; }
td:last-child, th:last-child { padding-right: 0; }
tfoot td { font-weight: 600; border-bottom: 0; border-top: 1px solid var(--strong); }
.number { text-align: right; white-space: nowrap; }
th.number { white-space: normal; }
.text { text-align: left; overflow-wrap: anywhere; min-width: 6.5rem; max-width: 34rem; }
@media (max-width: 40rem) {
  main { padding: 1.5rem 1rem 3rem; } .figure { height: 30rem; } .tiles { gap: .9rem; }
  .figure.low { height: 24rem; } th, td { padding-right: .7rem; }
}
@media print {
  @page { margin: 14mm; } main { max-width: none; padding: 0; } body { font-size: 10.5pt; }
  .scroll { overflow: visible; background: none; } table { font-size: 8pt; } th, td { padding-right: .6rem; }
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
<script type="application/json" id="dark">{{dark}}</script>
<script>{{plotly}}</script>
<script>
(function () {
  var figures = JSON.parse(document.getElementById("figures").textContent);
  var onDark = JSON.parse(document.getElementById("dark").textContent);
  var dark = window.matchMedia("(prefers-color-scheme: dark)");
  var printing = false;
  // The value with the colours of the dark theme; only what is stored under a name of a colour is one.
  function themed(value, name) {
    if (Array.isArray(value)) { return value.map(function (one) { return themed(one, name); }); }
    if (value && typeof value === "object") {
      var out = {};
      Object.keys(value).forEach(function (key) { out[key] = themed(value[key], key); });
      return out;
    }
    return /color/.test(name) && onDark[value] || value;
  }
  function draw() {
    var narrow = window.innerWidth < 640;
    Object.keys(figures).forEach(function (name) {
      var figure = JSON.parse(JSON.stringify(figures[name]));
      if (dark.matches && !printing) { figure = themed(figure, ""); }
      if (narrow) {
        figure.layout.legend = { orientation: "h", y: -0.24, yanchor: "top", font: { size: 10 } };
        figure.layout.font.size = 10;
      }
      var roomy = document.getElementById(name).clientWidth > 480;
      var options = { responsive: true, displaylogo: false, displayModeBar: roomy ? "hover" : false,
        modeBarButtonsToRemove: ["lasso2d", "select2d"] };
      Plotly.react(name, figure.data, figure.layout, options);
    });
  }
  draw();
  dark.addEventListener("change", draw);
  window.addEventListener("beforeprint", function () { printing = true; draw(); });
  window.addEventListener("afterprint", function () { printing = false; draw(); });
})();
</script>
</body>
</html>
"""
