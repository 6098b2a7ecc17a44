"""How the page looks: one column, quiet tables, light or dark as the reader's system is."""

CSS = """\
:root {
  color-scheme: light dark;
  --paper: #fff; --ink: #1c1e21; --soft: #5d646d; --line: #dfe2e6; --tint: #f5f6f8; --accent: #0a66a8;
  --bar: #9cc4e4; --mark: #fff0b8;
  --good: #10663c; --good-tint: #ddf3e5; --bad: #a3172a; --bad-tint: #fde4e6; --open: #7a5200; --open-tint: #fcefd2;
}
@media (prefers-color-scheme: dark) {
  :root {
    --paper: #14171a; --ink: #e4e7ea; --soft: #9ca5af; --line: #31373d; --tint: #1d2125; --accent: #74b9ee;
    --bar: #2f6a97; --mark: #5a4a10;
    --good: #7ddba4; --good-tint: #143524; --bad: #ff9aa5; --bad-tint: #43191e; --open: #f0c46c; --open-tint: #3b2d0e;
  }
}
* { box-sizing: border-box; }
html { -webkit-text-size-adjust: 100%; }
body {
  margin: 0 auto; max-width: 66rem; padding: 2.5rem 1.25rem 5rem; background: var(--paper); color: var(--ink);
  font: 1rem/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Noto Sans CJK SC", sans-serif;
  overflow-wrap: anywhere;
}
h1 { margin: 0; font-size: 2rem; line-height: 1.2; letter-spacing: -.015em; }
h2 { margin: 0 0 .75rem; font-size: 1.3rem; line-height: 1.3; }
h3 { margin: 1.75rem 0 .5rem; font-size: 1rem; }
p, ul, li { max-width: 46rem; }
p { margin: .6rem 0; }
section { margin-top: 2.75rem; padding-top: 1.5rem; border-top: 1px solid var(--line); scroll-margin-top: 1rem; }
a { color: var(--accent); text-decoration: none; }
a:hover, a:focus-visible { text-decoration: underline; }
.question { margin: .5rem 0 0; color: var(--soft); font-size: 1.15rem; }
.facts { display: flex; flex-wrap: wrap; gap: .25rem 1.1rem; max-width: none; margin: 1rem 0 0; padding: 0;
  list-style: none; font-size: .875rem; color: var(--soft); }
.notes { margin: 1.25rem 0 0; padding: .6rem 1rem; border-left: 3px solid var(--open); background: var(--open-tint);
  border-radius: 0 .4rem .4rem 0; }
.notes ul { margin: 0; padding-left: 1rem; }
nav { display: flex; flex-wrap: wrap; gap: .25rem 1rem; margin-top: 1.25rem; font-size: .875rem; }
.scroll { max-width: 100%; overflow-x: auto; }
.scroll:focus-visible { outline: 2px solid var(--accent); outline-offset: 2px; }
table { margin: .5rem 0; border-collapse: collapse; font-size: .875rem; font-variant-numeric: tabular-nums;
  line-height: 1.4; overflow-wrap: normal; }
th, td { padding: .42rem .8rem; text-align: left; vertical-align: top; border-bottom: 1px solid var(--line);
  unicode-bidi: isolate; }
th { font-weight: 600; }
thead th { vertical-align: bottom; border-bottom: 1.5px solid var(--soft); color: var(--soft); font-size: .8125rem; }
tbody th { position: sticky; left: 0; background: var(--paper); white-space: nowrap; }
td { min-width: 3.5rem; max-width: 26rem; }
th.n, td.n { text-align: right; white-space: nowrap; }
tbody tr:hover > * { background: var(--tint); }
td strong { color: var(--accent); }
.badge { display: inline-block; padding: .08rem .55rem; border-radius: 1rem; font-size: .75rem; font-weight: 700;
  letter-spacing: .02em; white-space: nowrap; color: var(--open); background: var(--open-tint); }
.badge.pass { color: var(--good); background: var(--good-tint); }
.badge.fail { color: var(--bad); background: var(--bad-tint); }
.badge.no-verdict { color: var(--soft); background: var(--tint); }
.token, code, pre { font-family: ui-monospace, SFMono-Regular, Menlo, Consolas, "Liberation Mono", monospace;
  font-size: .92em; unicode-bidi: isolate; }
.token { white-space: pre-wrap; padding: 0 .2em; border-radius: .2em; background: var(--tint); }
mark { padding: .05em .3em; border-radius: .25em; background: var(--mark); color: inherit; white-space: pre-wrap; }
.bar { display: block; width: 100%; min-width: 5rem; height: .3rem; margin-top: .25rem; border-radius: .2rem;
  background: var(--tint); }
.bar i { display: block; height: 100%; border-radius: inherit; background: var(--bar); }
figure { margin: 1rem 0 1.5rem; }
figcaption { max-width: 46rem; margin-top: .4rem; font-size: .875rem; color: var(--soft); }
svg { display: block; max-width: 100%; height: auto; }
svg text { font-family: inherit !important; }
pre { margin: .5rem 0; padding: .8rem 1rem; border-radius: .4rem; background: var(--tint); overflow-wrap: normal;
  user-select: all; }
@media (max-width: 34rem) {
  body { padding: 1.5rem 1rem 3rem; }
  h1 { font-size: 1.6rem; }
  table { width: max-content; }
  td { max-width: 15rem; }
  tbody th { max-width: 9rem; white-space: normal; }
}
@media print {
  body { max-width: none; padding: 0; }
  nav { display: none; }
  figure, tr { break-inside: avoid; }
  .scroll { overflow: visible; }
}
"""
"""A table scrolls in its own box, and the names of its rows stay in sight."""
