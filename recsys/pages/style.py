"""How reports look: light or dark as the reader's screen is, on paper too."""

STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5b6675; --line: #d9dee6; --card: #ffffff; --back: #f5f7fa;
  --accent: #2f6fc4; --bar: #7fb0ea; --mark: #c2571a; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6eaf0; --soft: #a3adba; --line: #37404c; --card: #1d232b;
  --back: #14181e; --accent: #8ab8f5; --bar: #3f6fa8; --mark: #f2a05c; } }
* { box-sizing: border-box; }
html { scroll-behavior: smooth; }
body { margin: 0; background: var(--back); color: var(--ink);
  font: 16px/1.5 system-ui, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif; }
main, header, nav, footer { max-width: 62rem; margin: 0 auto; padding: 0 1.25rem; }
header { padding-top: 2rem; }
h1 { font-size: 1.9rem; line-height: 1.2; margin: 0 0 .4rem; }
h2 { font-size: 1.35rem; line-height: 1.25; margin: 0 0 .3rem; }
h3 { font-size: 1rem; margin: 1.4rem 0 .4rem; }
p { margin: .4rem 0; }
.soft { color: var(--soft); }
.small { font-size: .86rem; }
a { color: var(--accent); }
nav ul { columns: 2 18rem; padding-left: 1.1rem; margin: .6rem 0 1.2rem; }
section { background: var(--card); border: 1px solid var(--line); border-radius: .6rem; padding: 1.2rem 1.4rem;
  margin: 1.2rem 0; }
.headline { font-size: 1.05rem; }
.chip { display: inline-block; min-width: 2.2rem; text-align: center; border-radius: .4rem; padding: 0 .4rem;
  margin-right: .4rem; color: #fff; font-size: .85em; font-weight: 600; }
.tries { display: grid; grid-template-columns: repeat(auto-fit, minmax(15rem, 1fr)); gap: .8rem; margin: .6rem 0; }
.try { border: 1px solid var(--line); border-left: .3rem solid var(--accent); border-radius: .4rem;
  padding: .6rem .8rem; }
.try b { display: block; font-size: .76rem; letter-spacing: .05em; text-transform: uppercase; color: var(--soft); }
.try ul { margin: .3rem 0 0; padding-left: 1rem; font-size: .86rem; color: var(--soft); }
.two { display: grid; grid-template-columns: repeat(auto-fit, minmax(20rem, 1fr)); gap: 0 2rem; }
.wide { overflow-x: auto; }
table { border-collapse: collapse; width: 100%; font-size: .9rem; }
th, td { text-align: left; padding: .28rem .6rem .28rem 0; border-bottom: 1px solid var(--line); vertical-align: top; }
th { font-weight: 600; color: var(--soft); font-size: .8rem; }
td.n, th.n { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
td.wide-cell { min-width: 14rem; }
.bar { position: relative; display: block; height: .7rem; min-width: 7rem; margin-top: .4rem; background: var(--line);
  border-radius: .2rem; overflow: hidden; }
.bar i { position: absolute; inset: 0 auto 0 0; width: var(--v); background: var(--bar); }
.bar u { position: absolute; top: 0; bottom: 0; left: calc(var(--o) - 1px); width: 3px; background: var(--mark); }
.hours { display: flex; align-items: flex-end; gap: 2px; height: 4.2rem; border-bottom: 1px solid var(--line); }
.hours span { flex: 1; height: var(--v); background: var(--bar); min-height: 1px; }
.hours span.gone { background: repeating-linear-gradient(45deg, var(--line) 0 3px, transparent 3px 6px); height: 40%; }
.under { display: flex; justify-content: space-between; font-size: .76rem; color: var(--soft); }
.under.days span { flex: 1; text-align: center; }
.under + .hours { margin-top: .6rem; }
details { margin: .8rem 0 0; border-top: 1px solid var(--line); padding-top: .5rem; }
summary { cursor: pointer; color: var(--accent); }
figure { margin: 1rem 0; overflow-x: auto; }
figcaption { font-size: .86rem; color: var(--soft); margin-top: .3rem; }
dt { font-weight: 600; margin-top: .7rem; }
dd { margin: .1rem 0 0; }
@media print { body { background: none; } section { break-inside: avoid-page; border: 0; padding: .6rem 0; }
  details > * { display: block; } nav { display: none; } }
"""
