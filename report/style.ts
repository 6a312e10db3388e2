// The style of the HTML page: two sets of colours, one scale of spaces, figures that stand under each other.

export const style = `
:root {
  color-scheme: light dark;
  --ground: light-dark(#f7f7f5, #111316);
  --surface: light-dark(#ffffff, #191c20);
  --raised: light-dark(#f3f4f2, #22262b);
  --ink: light-dark(#1b1d20, #e7e9ec);
  --muted: light-dark(#5d646d, #9ba4af);
  --line: light-dark(#e1e3e1, #2d3238);
  --accent: light-dark(#2456c9, #86aefc);
  --accent-soft: light-dark(#2456c91f, #86aefc29);
  --second: light-dark(#0f7f86, #56c4c6);
  --second-soft: light-dark(#0f7f861f, #56c4c629);
  --good: light-dark(#17774f, #55c08c);
  --good-soft: light-dark(#e6f4ec, #16291f);
  --warn: light-dark(#8f5b00, #e5ae4d);
  --warn-soft: light-dark(#fcf2dd, #2d2414);
  --bad: light-dark(#bf2a2a, #ff8078);
  --bad-soft: light-dark(#fcebea, #341b1b);
  --void: light-dark(#6d3fb5, #bb9af0);
  --void-soft: light-dark(#f1ebfb, #251d33);
  --warn-fill: light-dark(#dc8a00, #e5ae4d);
  --bad-fill: light-dark(#c62828, #ff6b62);
  --mono: ui-monospace, "SF Mono", "Cascadia Mono", "DejaVu Sans Mono", Menlo, Consolas, monospace;
}
:root[data-theme="light"] { color-scheme: light; }
:root[data-theme="dark"] { color-scheme: dark; }
* { box-sizing: border-box; }
html { scroll-padding-top: 1rem; -webkit-text-size-adjust: 100%; }
body {
  margin: 0; background: var(--ground); color: var(--ink);
  font: 15px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif;
  font-variant-numeric: tabular-nums;
}
.unseen { position: absolute; width: 1px; height: 1px; margin: -1px; overflow: hidden; clip-path: inset(50%); white-space: nowrap; }
.skip { position: absolute; left: -999px; top: 0; padding: .5rem 1rem; background: var(--surface); color: var(--accent); z-index: 2; }
.skip:focus { left: .5rem; top: .5rem; }
:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; border-radius: 4px; }
main:focus { outline: none; }
a { color: var(--accent); text-underline-offset: .2em; }
code { font: .92em/1.5 var(--mono); overflow-wrap: anywhere; }
code .code { color: var(--warn); }
.top, main, footer { max-width: min(100%, 1680px); margin-inline: auto; padding-inline: 1.5rem; }
.top { display: flex; align-items: baseline; gap: 1rem; padding-block: 1.25rem .75rem; }
.brand { font-weight: 650; letter-spacing: -.01em; }
.name { color: var(--muted); flex: 1; min-width: 0; }
.theme { font: inherit; font-size: .85rem; color: var(--ink); background: var(--surface); border: 1px solid var(--line); border-radius: 999px; padding: .25rem .9rem; cursor: pointer; }
.theme:hover { border-color: var(--muted); }
footer { padding-block: 2rem 3rem; color: var(--muted); font-size: .85rem; }

h1, h2, h3 { line-height: 1.2; letter-spacing: -.015em; margin: 0; text-wrap: balance; }
article > section:not(.verdict) { margin-top: 2.25rem; }
article > nav + section:not(.verdict) { margin-top: 1.1rem; }
article > section > :is(h2, h3) { font-size: 1.2rem; margin-bottom: .9rem; }
article + article, .overview + article { margin-top: 4rem; }
p { margin: 0; }
.note { color: var(--muted); font-size: .875rem; }
.note + *, p + .scroll, p + .charts { margin-top: .75rem; }

.verdict { border-radius: 14px; padding: 1.1rem 1.75rem 1.2rem; background: var(--tone-soft, var(--surface)); border-inline-start: 6px solid var(--tone); }
section.verdict { color: var(--ink); }
.pass { --tone: var(--good); --tone-soft: var(--good-soft); }
.fail { --tone: var(--bad); --tone-soft: var(--bad-soft); }
.insufficient { --tone: var(--warn); --tone-soft: var(--warn-soft); }
.invalid { --tone: var(--void); --tone-soft: var(--void-soft); }
.aborted { --tone: var(--muted); --tone-soft: var(--raised); }
.state:is(.pass, .fail, .insufficient, .invalid, .aborted) { color: var(--tone); }
.verdict :is(h1, h2) { font-size: clamp(1.75rem, 4vw, 2.25rem); color: var(--tone); font-weight: 700; margin-block: .15rem .3rem; }
.eyebrow { color: var(--muted); font-size: .875rem; overflow-wrap: anywhere; }
.lead { font-size: 1.15rem; font-weight: 560; max-width: 62em; }
.reason { margin-top: .25rem; max-width: 70em; }
.header { display: flex; flex-wrap: wrap; gap: .15rem 1.5rem; margin: .7rem 0 0; font-size: .85rem; }
.header > div { display: flex; gap: .4rem; min-width: 0; }
.header dt { color: var(--muted); }
.header dd { margin: 0; overflow-wrap: anywhere; }
.overview h1 { font-size: 2.5rem; margin-bottom: 1rem; }
nav { display: flex; gap: .3rem 1.1rem; margin-top: .9rem; font-size: .875rem; overflow-x: auto; white-space: nowrap; scrollbar-width: thin; }
nav a { color: var(--muted); text-decoration: none; padding-block: .15rem; }
nav a:hover { color: var(--accent); text-decoration: underline; }

.next { margin: 0; padding-inline-start: 1.4rem; display: grid; gap: .45rem; max-width: 60em; }
.next li::marker { color: var(--muted); font-weight: 600; }

.tiles { display: grid; grid-template-columns: repeat(5, 1fr); gap: .75rem; margin: 0; }
.tile { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: .9rem 1rem 1rem; min-width: 0; }
.tile dt { color: var(--muted); font-size: .85rem; }
.tile dd { margin: 0; }
.tile .big { display: block; font-size: 1.55rem; font-weight: 620; line-height: 1.3; letter-spacing: -.02em; }
.tile .share { color: var(--muted); font-size: .85rem; }
.tile .of { font-size: .8rem; color: var(--muted); overflow-wrap: anywhere; }
.tile .of:first-of-type, .tile dd + .of { margin-top: .1rem; }
.tile.good .big { color: var(--good); } .tile.bad .big { color: var(--bad); } .tile.warn .big { color: var(--warn); }

.culprits { list-style: none; margin: 0; padding: 0; display: grid; gap: .75rem; }
.culprits > li { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1.25rem 1.1rem; }
.measures { margin: .75rem 0 0; display: grid; gap: .3rem; font-size: .85rem; }
.measures > div { display: grid; grid-template-columns: 13rem 1fr; gap: 1rem; align-items: center; }
.measures dt { color: var(--muted); }
.measures dd { margin: 0; display: grid; grid-template-columns: 1fr 4.5rem; gap: .75rem; align-items: center; }
.measures .figure { text-align: end; }
.bar { display: block; height: 8px; min-width: 4rem; border-radius: 4px; background: var(--raised); overflow: hidden; }
.fill { display: block; height: 100%; min-width: 1px; border-radius: 4px; background: var(--accent); }
.fill.bad { background: var(--bad); } .fill.warn { background: var(--warn); } .fill.muted { background: var(--muted); }
.good { color: var(--good); } .bad { color: var(--bad); } .warn { color: var(--warn); } .zero { color: var(--muted); }
.state { font-weight: 600; }

.scroll { overflow-x: auto; background: var(--surface); border: 1px solid var(--line); border-radius: 10px; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: start; padding: .5rem .9rem; font-weight: 400; vertical-align: baseline; }
tbody th code { white-space: nowrap; }
.heat tbody th code { white-space: normal; }
thead th { color: var(--muted); font-size: .8rem; white-space: nowrap; border-bottom: 1px solid var(--line); }
tbody tr + tr > * { border-top: 1px solid var(--line); }
.number { text-align: end; white-space: nowrap; }
.scroll + details, .scroll + p { margin-top: .75rem; }

details > summary { cursor: pointer; border-radius: 8px; }
.chart details, section > details:not(.finding) { font-size: .85rem; }
.chart summary, section > details:not(.finding) > summary { color: var(--muted); width: fit-content; padding: .15rem .3rem; }
details > .culprits { margin-top: .6rem; font-size: 15px; }
.culprits + details { margin-top: .6rem; }
details > .scroll { margin-top: .5rem; max-height: 22rem; overflow-y: auto; }

.charts { display: grid; grid-template-columns: repeat(3, minmax(0, 1fr)); gap: 1rem; }
.charts + details { margin-top: .75rem; }
details > .charts { margin-top: .6rem; font-size: 15px; }
.drills th, .drills td { padding: 0; border: 0; text-align: center; font-size: .72rem; line-height: 1; color: var(--ink); overflow: visible; }
.drills td { position: relative; }
.drills th { text-align: start; color: var(--muted); }
.mark { margin-inline-start: .6rem; }
.gist { font-size: .875rem; }
.chart { margin: 0; background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 1rem 1rem .75rem; min-width: 0; }
.chart figcaption { display: flex; flex-wrap: wrap; align-items: baseline; gap: .1rem .75rem; padding-inline: .3rem; }
.chart figcaption strong { font-weight: 620; }
.plot { min-height: 225px; }
.uplot { font-family: inherit; }
.u-legend { text-align: start; font-size: .8rem; color: var(--muted); pointer-events: none; padding-inline-start: .2rem; min-height: 1.6rem; }
.u-legend tbody { display: flex; flex-wrap: wrap; }
.u-legend tr { border: 0; }
.u-inline tr { margin-right: .9rem; }
.u-legend th, .u-legend td { border: 0; padding: .1rem .2rem; font-weight: 400; font-size: .8rem; }
.u-legend tr:first-child { order: 1; }
.u-legend tr:first-child th { display: none; }
.u-legend .u-marker { width: .7em; height: .7em; border-radius: 2px; }
.u-legend .u-value { color: var(--ink); }
.u-inline.u-live th::after { content: ""; }

.legend { display: flex; flex-wrap: wrap; align-items: center; gap: .4rem; }
.swatch { width: .95rem; height: .95rem; border-radius: 3px; display: inline-block; margin-inline-start: .6rem; }
.swatch:first-child { margin-inline-start: 0; }
.heat { table-layout: fixed; border-collapse: separate; border-spacing: 2px; padding: .75rem; min-width: 640px; }
.heat thead td:first-child, .heat .drills th { width: 10.5rem; }
.legend .says { flex-basis: 100%; }
.heat th, .heat td { padding: 0; border: 0; }
.heat thead th { font-size: .72rem; border: 0; padding-bottom: .2rem; }
.heat tbody th { padding-inline-end: .75rem; font-size: .85rem; line-height: 1.2; vertical-align: middle; position: sticky; inset-inline-start: 0; background: var(--surface); z-index: 1; }
.heat tbody td { height: 1.35rem; min-width: 9px; border-radius: 3px; position: relative; }
.fine { background: light-dark(#dcece3, #20352b); }
.drift { background: color-mix(in oklab, var(--warn-fill) var(--heat), var(--surface)); }
.wrong { background: color-mix(in oklab, var(--bad-fill) var(--heat), var(--surface)); }
.idle { background: transparent; box-shadow: inset 0 0 0 1px var(--line); }
.heat, .bar, .badge, mark, .swatch, .verdict { print-color-adjust: exact; -webkit-print-color-adjust: exact; }

.finding { background: var(--surface); border: 1px solid var(--line); border-radius: 10px; padding: 0 1.25rem; }
.finding + .finding { margin-top: .6rem; }
.finding > summary, .example > summary { display: flex; align-items: baseline; gap: .75rem; list-style: none; padding-block: .8rem; }
.finding > summary::-webkit-details-marker, .example > summary::-webkit-details-marker { display: none; }
.finding > summary::before, .example > summary::before { content: "›"; color: var(--muted); font-weight: 700; width: .6rem; flex: none; transition: transform .12s; transform-origin: 35% 55%; }
[open] > summary::before { transform: rotate(90deg); }
.finding[open] { padding-bottom: 1rem; }
.badge { font-size: .75rem; font-weight: 600; border-radius: 999px; padding: .1rem .6rem; background: var(--raised); color: var(--muted); flex: none; }
.badge.violation { background: var(--bad-soft); color: var(--bad); }
.badge.drift { background: var(--warn-soft); color: var(--warn); }
.kind { font-weight: 620; white-space: nowrap; }
.meaning { color: var(--muted); font-size: .875rem; flex: 1; min-width: 0; }
.count { margin-inline-start: auto; white-space: nowrap; text-align: end; }
.count .share { color: var(--muted); font-size: .85rem; display: inline-block; min-width: 4rem; }
.example { border-top: 1px solid var(--line); }
.note + .example { margin-top: .25rem; }
.example > summary { padding-block: .55rem; }
.example > summary code { flex: 1; min-width: 0; }
.example > summary .count { color: var(--muted); font-size: .85rem; }
.opcode { font-weight: 620; }
.example[open] { padding-bottom: 1rem; }
.why { margin-bottom: .15rem; }
.example .note + .note { margin-top: .1rem; }
.sides { display: grid; grid-template-columns: repeat(2, minmax(0, 1fr)); gap: .75rem; margin-top: .75rem; }
.side { background: var(--raised); border-radius: 8px; padding: .8rem 1rem; overflow-x: auto; }
.side .title { font-size: .8rem; font-weight: 600; color: var(--muted); margin-bottom: .4rem; }
.side dl { margin: 0 0 .5rem; display: flex; flex-wrap: wrap; gap: .1rem 1.25rem; font-size: .875rem; }
.side dl > div { display: flex; gap: .4rem; }
.side dt { color: var(--muted); }
.side dd { margin: 0; }
.bytes { width: auto; font: 12.5px/1.6 var(--mono); }
.bytes th, .bytes td { padding: 0 .9rem 0 0; border: 0; white-space: pre; }
.bytes tbody tr + tr > * { border: 0; }
.bytes th, .bytes tfoot td { color: var(--muted); }
.bytes th { text-align: end; }
mark { background: var(--warn-soft); color: inherit; border-radius: 2px; box-shadow: 0 0 0 1px var(--warn-soft); }
mark.first { background: var(--bad); color: var(--surface); box-shadow: 0 0 0 1px var(--bad); }
pre { margin: .5rem 0; padding: .7rem 1rem; background: var(--raised); border-radius: 8px; white-space: pre-wrap; font-size: .85rem; }

.facts { margin: 0; display: grid; gap: .35rem; font-size: .9rem; }
.facts > div { display: grid; grid-template-columns: 8rem 1fr; gap: 1rem; }
.facts dt { color: var(--muted); }
.facts dd { margin: 0; overflow-wrap: anywhere; }

@media (max-width: 1100px) {
  .charts { grid-template-columns: repeat(2, minmax(0, 1fr)); }
}
@media (max-width: 760px) {
  .top, main, footer { padding-inline: 1rem; }
  .verdict { padding: 1.25rem 1.25rem 1.4rem; }
  .tiles { grid-template-columns: repeat(2, 1fr); }
  .charts, .sides { grid-template-columns: minmax(0, 1fr); }
  .finding { padding-inline: .9rem; }
  .finding > summary { flex-wrap: wrap; gap: .25rem .6rem; }
  .meaning { order: 3; flex-basis: 100%; }
  .finding .count .share { min-width: 0; margin-inline-start: .5rem; }
  .heat thead td:first-child, .heat .drills th { width: 8rem; }
  .measures > div, .facts > div { grid-template-columns: 1fr; gap: .1rem; }
}
@media (prefers-reduced-motion: reduce) { * { transition: none !important; } }
@media print {
  html { font-size: 11px; }
  body { background: none; font-size: 1rem; }
  .uplot, .u-wrap { width: 100% !important; }
  .u-wrap, .uplot canvas { height: auto !important; }
  .u-marker { print-color-adjust: exact; -webkit-print-color-adjust: exact; }
  .plot { min-height: 0; }
  .theme, nav, .skip { display: none; }
  .scroll { overflow: visible; }
  .heat { min-width: 0; }
  details > .scroll { max-height: none; }
  .heat tr, .chart, .example, .tile, .culprits > li { break-inside: avoid; }
}
`;
