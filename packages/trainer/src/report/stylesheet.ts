/** The report's style. Series colours keep apart for the colour-blind (Okabe and Ito) and have a lighter set for dark. */
export const stylesheet = `
:root{color-scheme:light dark;--page:#fbfaf8;--panel:#fff;--ink:#1d1c1a;--quiet:#6d6a64;--line:#e6e2da;--accent:#0b6e4f;--mark:#e5f3ec;--up:#0b6e4f;--down:#b3372b;
--c0:#0072b2;--c1:#d55e00;--c2:#009e73;--c3:#aa4499;--c4:#b8860b;--c5:#56a0d3;--c6:#7a5195;--c7:#444}
@media (prefers-color-scheme:dark){:root{--page:#151617;--panel:#1d1f21;--ink:#ebe9e4;--quiet:#a09c94;--line:#33363a;--accent:#5fd0a5;--mark:#173a2e;--up:#5fd0a5;--down:#ff8a7a;
--c0:#5ab4f0;--c1:#ff9a4d;--c2:#45d3a5;--c3:#e08bd3;--c4:#e6bf45;--c5:#9bd1f5;--c6:#b99be0;--c7:#ccc}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--ink);font:15px/1.55 system-ui,-apple-system,"Segoe UI",Roboto,"Helvetica Neue",sans-serif;font-variant-numeric:tabular-nums}
main{max-width:1160px;margin:0 auto;padding:48px 28px 80px}
header{margin-bottom:28px}
.eyebrow{margin:0;color:var(--accent);font-size:12px;font-weight:600;letter-spacing:.09em;text-transform:uppercase}
h1{margin:.1em 0 .15em;font-size:38px;line-height:1.15;letter-spacing:-.02em}
h2{margin:0 0 14px;font-size:20px;letter-spacing:-.01em}
.lead{margin:0;color:var(--quiet)}
section{margin-top:44px}
.quiet{color:var(--quiet);font-size:13px;margin:.7em 0 0}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(260px,1fr));gap:16px}
.card,figure,.scroll,details{background:var(--panel);border:1px solid var(--line);border-radius:12px}
.card{padding:18px 20px}
.card-title{margin:0;color:var(--quiet);font-size:13px}
.big{margin:.05em 0;font-size:40px;font-weight:650;letter-spacing:-.03em;line-height:1.2}
.card .quiet{margin:0}
.scroll{overflow-x:auto}
table{width:100%;border-collapse:collapse}
th,td{padding:9px 14px;text-align:right;white-space:nowrap;border-top:1px solid var(--line)}
th:first-child,td:first-child{text-align:left}
thead th{border-top:0;color:var(--quiet);font-size:12px;font-weight:600}
tbody th{font-weight:600}
td small,th small{margin-left:6px;color:var(--quiet);font-size:11.5px;font-weight:400}
th small.under{display:block;margin:0}
.charts+.quiet,.charts+.scroll,.quiet+.scroll,.quiet+details{margin-top:14px}.inside{margin-top:12px}
.best{background:var(--mark);color:var(--accent);font-weight:650}
.none{color:var(--quiet)}
.up{color:var(--up);font-weight:650}.down{color:var(--down);font-weight:650}
th.words,td.words{white-space:normal;text-align:left;min-width:260px}
.good{color:var(--up)}.bad{color:var(--down)}.open{color:var(--quiet)}
td.good,td.bad,td.open{font-weight:650}
td.heat{background:color-mix(in srgb,var(--c0) var(--share),transparent);print-color-adjust:exact}
.facts th{width:130px;color:var(--quiet);font-weight:400}.facts td{text-align:left;white-space:normal;overflow-wrap:anywhere}
.facts tr:first-child th,.facts tr:first-child td{border-top:0}
.scroll+details{margin-top:12px}
code{font-size:.92em}
.alarm{margin:0 0 8px;padding:12px 16px;border:1px solid var(--down);border-radius:12px;color:var(--down)}
tr.ceiling th,tr.ceiling td{border-top:2px solid var(--line);color:var(--quiet);font-style:italic;font-weight:400}
tr.group th{padding-top:18px;color:var(--accent);font-size:12px;letter-spacing:.03em}
.slices th,.slices td{padding-top:5px;padding-bottom:5px}
.slices tbody tr:not(.group) th{font-weight:400}
.small{display:grid;grid-template-columns:repeat(auto-fill,minmax(270px,1fr));gap:16px;margin:16px 0}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(420px,1fr));gap:16px;margin:16px 0}
figure{margin:0;padding:16px 18px 14px}
figcaption{font-size:13.5px;font-weight:600;margin-bottom:8px}
svg{display:block;width:100%;height:auto;font:11.5px system-ui,sans-serif}
.grid{stroke:var(--line)}.axis{stroke:var(--quiet)}.diagonal{stroke:var(--quiet);stroke-dasharray:4 4}
.tick,.axis-name,.row-note{fill:var(--quiet)}.row-name{fill:var(--ink);font-size:12.5px}
.series path{fill:none;stroke:var(--c);stroke-width:1.9;stroke-linejoin:round}
.series circle{fill:var(--c)}.series .seed{opacity:.38}.series .whisker{stroke:var(--c);stroke-width:2.5;opacity:.55}
.series .stem{stroke:var(--c);stroke-width:4;opacity:.3;stroke-linecap:round}.series .cap{stroke:var(--c);stroke-width:1.4}.series .ring{fill:none;stroke:var(--ink);stroke-width:1.4}
.legend{display:flex;flex-wrap:wrap;gap:4px 16px;margin-top:8px;font-size:12.5px}
.key i{display:inline-block;width:14px;height:3px;border-radius:2px;margin-right:6px;vertical-align:middle;background:var(--c)}
.c0{--c:var(--c0)}.c1{--c:var(--c1)}.c2{--c:var(--c2)}.c3{--c:var(--c3)}.c4{--c:var(--c4)}.c5{--c:var(--c5)}.c6{--c:var(--c6)}.c7{--c:var(--c7)}
details{padding:12px 18px;margin-bottom:10px}summary{cursor:pointer}
pre{overflow-x:auto;font-size:12.5px;line-height:1.45;margin:12px 0 4px}
@media (max-width:520px){main{padding:28px 16px 60px}.charts{grid-template-columns:1fr}}
@media print{:root{--page:#fff}body{font-size:11.5px}th,td{padding:5px 7px}td small,th small{font-size:9.5px;margin-left:3px}th small.under{margin:0}.charts{grid-template-columns:repeat(2,1fr);gap:10px}.small{grid-template-columns:repeat(3,1fr);gap:10px}main{max-width:none;padding:0}section,figure,.card,tr{break-inside:avoid}.slices{break-inside:auto}section{break-inside:auto}details{break-inside:avoid}.scroll{overflow:visible}}
`.trim();
