"""The style sheet of reports: light or dark as the reader's system is set, and plain on paper."""

STYLE = """
:root {
  --ink: #1d2330; --soft: #5c6577; --line: #dfe3ea; --page: #f6f7f9; --card: #ffffff;
  --accent: #2f6fde; --accent-soft: #a9c4f5; --good: #1c8a4d; --good-soft: #e3f4ea; --bad: #b4482e; --track: #eceff4;
}
@media (prefers-color-scheme: dark) {
  :root {
    --ink: #e4e8f0; --soft: #9aa4b8; --line: #323a49; --page: #13171f; --card: #1b212c;
    --accent: #78a8ff; --accent-soft: #3c5687; --good: #55c98a; --good-soft: #173526; --bad: #f08b6d; --track: #2a3240;
  }
}
* { box-sizing: border-box; }
html { color-scheme: light dark; scroll-behavior: smooth; }
body {
  margin: 0 auto; padding: 2.5rem 1.5rem 4rem; max-width: 76rem; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", "DejaVu Sans", Arial, sans-serif;
}
h1 { margin: 0 0 .4rem; font-size: 2rem; line-height: 1.2; letter-spacing: -.01em; }
h2 { margin: 0 0 1rem; font-size: 1.3rem; }
h3 { margin: 1.6rem 0 .6rem; font-size: 1rem; }
h2 + h3, h2 + div > h3:first-child { margin-top: 0; }
small, .note, .place { color: var(--soft); font-weight: normal; }
.note { margin: .2rem 0 .8rem; max-width: 62rem; }
.warning { color: var(--bad); font-weight: 600; }
nav { display: flex; flex-wrap: wrap; gap: .3rem 1.2rem; margin: .9rem 0 1.6rem; }
nav a { color: var(--accent); text-decoration: none; }
nav a:hover { text-decoration: underline; }
section {
  margin: 0 0 1.4rem; padding: 1.5rem 1.7rem;
  background: var(--card); border: 1px solid var(--line); border-radius: 12px;
}
code { font: .86em ui-monospace, "SF Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; overflow-wrap: anywhere; }
.scroll { overflow-x: auto; }
table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .4rem .8rem; border-bottom: 1px solid var(--line); text-align: left; vertical-align: top; }
thead th, tr:first-child > th[scope=col] { color: var(--soft); font-weight: 600; font-size: .86rem; }

.headline { margin: 0 0 .6rem; font-size: 1.3rem; line-height: 1.45; max-width: 60rem; }
.columns { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 1.2rem; margin: 1.2rem 0; }
.columns > div { padding: .2rem 1.2rem; border-left: 4px solid var(--bad); }
.columns > .wins { border-color: var(--good); }
.columns h3 { margin: 0 0 .3rem; }
ul { margin: 0; padding-left: 1.1rem; }

.numbers { width: 100%; font-size: .94rem; }
.numbers td, .numbers thead th { padding: .4rem .5rem; text-align: right; }
.numbers td { white-space: nowrap; }
.numbers thead th { vertical-align: bottom; line-height: 1.3; }
.numbers tr > th:first-child { padding-left: 0; text-align: left; white-space: nowrap; }
.numbers .first { border-left: 1px solid var(--line); }
.numbers .group { text-align: center; color: var(--ink); border-left: 1px solid var(--line); }
.numbers thead td { border: 0; }
.numbers.wide { font-size: 1.05rem; }
td.best { background: var(--good-soft); }
td.best strong { color: var(--good); }
td.best strong::before { content: "★ "; font-size: .75em; vertical-align: .12em; }
td.aside, .missing, .published { color: var(--soft); }
td.better { color: var(--good); }
td.worse { color: var(--bad); }
.published td, .published th { font-style: italic; font-weight: normal; }
.bar { display: block; width: 100%; min-width: 4.5rem; height: 5px; margin-top: .3rem; border-radius: 3px; }
.bar rect { fill: var(--accent-soft); }
.bar .track { fill: var(--track); }
.bar .best { fill: var(--good); }
.span { display: block; color: var(--soft); font-size: .72rem; font-weight: normal; white-space: nowrap; }
.legend { display: grid; grid-template-columns: max-content 1fr; gap: .25rem 1rem; margin: 1.1rem 0 0; }
.legend > * { font-size: .9rem; }
.legend dt { font-weight: 600; }
.legend dd { margin: 0; color: var(--soft); max-width: 56rem; }

.cards { display: grid; grid-template-columns: repeat(auto-fill, minmax(31rem, 1fr)); gap: 1.2rem; }
.card { padding: 1rem 1.1rem; border: 1px solid var(--line); border-radius: 10px; min-width: 0; overflow-x: auto; }
.card header { display: flex; gap: .9rem; align-items: start; margin-bottom: .7rem; }
.card header img { width: 4.2rem; flex: none; }
.card h3 { margin: 0; font-weight: 600; line-height: 1.4; }
.card small { display: block; font-size: .8rem; }
.card table { width: 100%; }
.card th, .card td { padding: .3rem .25rem; border: 0; vertical-align: middle; }
.card th { width: 8rem; font-size: .9rem; line-height: 1.3; }
.card .place { display: block; font-size: .82rem; }
.card figure { position: relative; margin: 0; border: 3px solid transparent; border-radius: 7px; line-height: 0; }
.card img { width: 100%; min-width: 3.4rem; max-width: 6rem; aspect-ratio: 1; object-fit: cover; border-radius: 4px; }
.card .right { border-color: var(--good); }
.card .right figcaption {
  position: absolute; right: 0; bottom: 0; padding: 0 .35rem; background: var(--good); color: var(--card);
  border-radius: 5px 0 0 0; font-size: .7rem; font-weight: 700; line-height: 1.5;
}
.no-image { display: block; padding: .4rem; font-size: .7rem; line-height: 1.3; overflow-wrap: anywhere; }

.charts { display: grid; grid-template-columns: repeat(auto-fill, minmax(19rem, 1fr)); gap: 1rem 1.4rem; }
.run + .run { margin-top: 1.8rem; padding-top: .4rem; border-top: 1px solid var(--line); }
.plot { margin: 0; break-inside: avoid; }
.plot figcaption { font-size: .9rem; color: var(--soft); }
.plot b { color: var(--ink); }
.chart { display: block; width: 100%; height: auto; }
.chart text { fill: var(--soft); font-size: 11px; font-variant-numeric: tabular-nums; }
.chart .grid { stroke: var(--line); stroke-width: 1; }
.chart polyline { fill: none; stroke-linejoin: round; stroke-linecap: round; }
.chart .curve { stroke: var(--accent); stroke-width: 1.8; }
.chart .raw { stroke: var(--accent-soft); stroke-width: 1; }
.chart .dot { fill: var(--accent); }
.c0 { --hue: #2f6fde; } .c1 { --hue: #d1622b; } .c2 { --hue: #2a9d63; } .c3 { --hue: #8a56c9; }
.c4 { --hue: #c23b6b; } .c5 { --hue: #7d7a1f; } .c6 { --hue: #1796a8; } .c7 { --hue: #6b7280; }
.chart .curve[class*=" c"] { stroke: var(--hue); stroke-width: 1.5; }
.chart .c4, .chart .c5, .chart .c6, .chart .c7 { stroke-dasharray: 5 3; }
.key { display: flex; flex-wrap: wrap; gap: .2rem 1.1rem; padding: 0; margin: 0 0 .8rem; list-style: none; }
.key { font-size: .9rem; }
.swatch { display: inline-block; width: 1.5rem; margin-right: .4rem; vertical-align: .25em; }
.swatch { border-top: 3px solid var(--hue); }
.swatch.c4, .swatch.c5, .swatch.c6, .swatch.c7 { border-top-style: dashed; }
.languages td { min-width: 6rem; }
.settings td, .settings th { font-size: .9rem; }
.settings td { min-width: 4rem; max-width: 22rem; }
.shared { columns: 19rem auto; column-gap: 2rem; margin: 0; font-size: .88rem; }
.shared div { display: flex; gap: .6rem; justify-content: space-between; border-bottom: 1px dotted var(--line); }
.shared dt { color: var(--soft); }
.shared dd { margin: 0; min-width: 0; text-align: right; overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }

@media (max-width: 40rem) {
  body { padding: 1.2rem .7rem 3rem; }
  section { padding: 1.1rem 1rem; }
  .cards { grid-template-columns: 1fr; }
  .legend { grid-template-columns: 1fr; }
  .legend dd { margin-bottom: .5rem; }
}
@media print {
  :root {
    --ink: #000; --soft: #444; --line: #bbb; --page: #fff; --card: #fff; --accent: #1d4fa8; --accent-soft: #a9c4f5;
    --good: #14693a; --good-soft: #e3f4ea; --bad: #96341c; --track: #eee;
  }
  @page { margin: 14mm; }
  html { color-scheme: light; -webkit-print-color-adjust: exact; print-color-adjust: exact; }
  body { padding: 0; max-width: none; font-size: 10pt; }
  nav { display: none; }
  section { padding: 0; margin: 0 0 9mm; border: 0; border-radius: 0; }
  h2 { padding-bottom: 1mm; border-bottom: 1.5pt solid var(--ink); }
  h2, h3, h2 + .note { break-after: avoid; }
  tr, .card, .columns > div, .legend { break-inside: avoid; }
  .scroll, .card { overflow: visible; }
  th, td { padding: .2rem .35rem; font-size: 8.5pt; }
  .numbers.wide { font-size: 9pt; }
  .cards { display: block; columns: 2; column-gap: 4mm; }
  .card { padding: 2mm; margin-bottom: 4mm; }
  .card th { width: 5.5rem; }
  .card img { min-width: 0; }
  .charts { grid-template-columns: repeat(3, 1fr); }
  .bar { min-width: 0; }
}
"""
