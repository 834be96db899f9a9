"""The HTML page of the report: style, placeholders, and the script that draws the figures."""

import html
import json
import re
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from matplotlib.colors import to_hex, to_rgb

from scaling.plots.style import GRID, INK, MUTED

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


Cell = tuple[str, str]  # text or markup already escaped, and its class


def maybe(value: float | None, form: str) -> str:
    """The number, or a dash where there is none."""
    return "\N{EN DASH}" if value is None else format(value, form)


def text_cell(value: object) -> Cell:
    """A cell of any text, escaped."""
    return html.escape(str(value)), "text"


def number_cell(value: str) -> Cell:
    """A cell of a number, which stands at the right."""
    return html.escape(value), "number"


def html_table(head: Sequence[str], rows: Sequence[Sequence[Cell]], foot: Sequence[Cell] = ()) -> str:
    """Rows under a head of titles, which are escaped here, over a foot."""
    row: Callable[[Sequence[Cell]], str] = lambda cells: (  # noqa: E731
        "<tr>" + "".join(f'<td class="{kind}">{text}</td>' for text, kind in cells) + "</tr>"
    )
    kinds = [kind for _, kind in rows[0]] if rows else []
    titles = "".join(
        f'<th class="{kind}">{html.escape(name)}</th>' for name, kind in zip(head, kinds, strict=False)
    )
    top = f"<thead><tr>{titles}</tr></thead>" if head else ""
    bottom = f"<tfoot>{row(foot)}</tfoot>" if foot else ""
    return f'<div class="scroll"><table>{top}<tbody>{"".join(map(row, rows))}</tbody>{bottom}</table></div>'


PAPER = "#ffffff"
DARK_PAPER = "#14171c"
DARK_INK = "#e7e9ec"
DARK_MUTED = "#a3adba"
DARK_GRID = "#2c323b"
NEUTRAL = {PAPER: DARK_PAPER, INK: DARK_INK, MUTED: DARK_MUTED, GRID: DARK_GRID, "#9aa3af": "#4b5563"}
READABLE = 4.5  # least contrast: WCAG 2.2, success criterion 1.4.3
_COLOUR = re.compile(r'"(#[0-9a-f]{6}|rgba\([0-9., ]+\))"')


def contrast(a: str, b: str) -> float:
    """Contrast ratio of two colours, from 1 to 21 (WCAG 2.2)."""
    light, dark = sorted((_luminance(a), _luminance(b)), reverse=True)
    return (light + 0.05) / (dark + 0.05)


def on_dark(colour: str) -> str:
    """The colour mixed with as much white as it needs to be readable on the dark background."""
    if colour in NEUTRAL:
        return NEUTRAL[colour]
    if colour.startswith("rgba"):
        red, green, blue, alpha = (float(v) for v in colour[5:-1].split(","))
        solid = on_dark(to_hex((red / 255, green / 255, blue / 255)))
        channels = ",".join(str(round(255 * c)) for c in to_rgb(solid))
        return f"rgba({channels},{min(1.0, 1.5 * alpha):g})"
    red, green, blue = to_rgb(colour)
    for white in np.linspace(0.0, 1.0, 41).tolist():
        mixed = to_hex((red + white * (1 - red), green + white * (1 - green), blue + white * (1 - blue)))
        if contrast(mixed, DARK_PAPER) >= READABLE:
            break
    return mixed


def dark_colours(documents: Any) -> dict[str, str]:
    """Every colour in plain JSON documents, and what it is on a dark background."""
    return {colour: on_dark(colour) for colour in sorted(set(_COLOUR.findall(json.dumps(documents))))}


def _luminance(colour: str) -> float:
    channels = np.array(to_rgb(colour))
    linear = np.where(channels <= 0.04045, channels / 12.92, ((channels + 0.055) / 1.055) ** 2.4)
    return float(linear @ [0.2126, 0.7152, 0.0722])
