/** The style of the page. Constant, so that its hash can stand in the page's security policy. */
export const style: string = `
:root{color-scheme:light dark;--page:#f6f7f9;--card:#fff;--text:#1b1f24;--soft:#5b6470;--line:#d9dee5;
--good:#157f3d;--bad:#c62828;--warn:#9a6200;--note:#1d63b8;--good-bg:#e5f5ea;--bad-bg:#fdeaea;--warn-bg:#fdf3df;--note-bg:#e7f0fc}
@media (prefers-color-scheme:dark){:root{--page:#111418;--card:#191d23;--text:#e6e9ee;--soft:#9aa4b2;--line:#323943;
--good:#5fd38a;--bad:#ff8a80;--warn:#f0b95a;--note:#82b6ff;--good-bg:#12301e;--bad-bg:#3a1a1a;--warn-bg:#35280f;--note-bg:#152a45}}
*{box-sizing:border-box}
body{margin:0;background:var(--page);color:var(--text);font:15px/1.5 system-ui,-apple-system,"Segoe UI",Roboto,sans-serif}
main{max-width:1040px;margin:0 auto;padding:20px 16px 48px;overflow-wrap:break-word}
h1{font-size:1.5rem;line-height:1.25;margin:.3rem 0}
h2{font-size:1.1rem;margin:2rem 0 .6rem}
h3{font-size:1rem;margin:0;line-height:1.35}
p{margin:.3rem 0}
a{color:var(--note)}
code,.value{font-family:ui-monospace,SFMono-Regular,Menlo,Consolas,monospace;font-size:.86em;overflow-wrap:anywhere}
.soft{color:var(--soft)}
.badge{display:inline-block;border-radius:999px;padding:.1rem .7rem;font-weight:600;font-size:.9rem}
.badge.good{background:var(--good-bg);color:var(--good)}
.badge.bad{background:var(--bad-bg);color:var(--bad)}
.card{background:var(--card);border:1px solid var(--line);border-radius:10px;padding:14px 16px;margin:.6rem 0}
.finding{border-left:5px solid var(--line)}
.finding.error{border-left-color:var(--bad)}
.finding.warning{border-left-color:var(--warn)}
.finding.note{border-left-color:var(--note)}
.finding .kind{font-weight:600;font-size:.85rem;margin:0 0 .15rem}
.error .kind{color:var(--bad)}.warning .kind{color:var(--warn)}.note .kind{color:var(--note)}
.advice{margin:.45rem 0;font-size:1rem}
dl{display:grid;grid-template-columns:max-content minmax(0,1fr);gap:.15rem .9rem;margin:.5rem 0 0}
dt{color:var(--soft)}
dd{margin:0;overflow-wrap:anywhere}
.sequence{display:block;width:100%;height:auto}
.sequence text{font:12px system-ui,-apple-system,"Segoe UI",Roboto,sans-serif;fill:var(--text);paint-order:stroke;stroke:var(--card);stroke-width:4px;stroke-linejoin:round}
.sequence .lane line{stroke:var(--line);stroke-width:1.5}
.sequence .lane text{text-anchor:middle;font-weight:600;font-size:13px}
.sequence .axis,.sequence .tick{stroke:var(--soft);stroke-width:1}
.sequence .time{text-anchor:end;fill:var(--soft);font-size:10.5px}
.sequence .status{text-anchor:end;font-weight:600}
.sequence .request,.sequence .response,.sequence .broken{fill:none;stroke:currentColor;stroke-width:1.6}
.sequence .response{stroke-dasharray:5 4}
.sequence .head,.sequence .bar{fill:currentColor}
.sequence .good{color:var(--good)}.sequence .bad{color:var(--bad)}.sequence .passed_over{color:var(--soft)}
.sequence .hop .status{fill:currentColor}
.sequence.narrow{display:none}
table{width:100%;border-collapse:collapse}
th,td{text-align:left;vertical-align:top;padding:.35rem .6rem;border-top:1px solid var(--line)}
thead th{border-top:0;color:var(--soft);font-weight:600}
tbody th{font-weight:600;min-width:9rem;overflow-wrap:anywhere}
table.four{table-layout:fixed}
.four th:nth-child(1){width:27%}.four th:nth-child(2),.four th:nth-child(3){width:27%}
td.mismatch{background:var(--bad-bg)}
td .must{display:block;color:var(--bad);font-weight:600}
.verdict{font-weight:600;white-space:nowrap}
.match{color:var(--good)}.mismatch .verdict,.verdict.mismatch{color:var(--bad)}.unknown{color:var(--soft)}
details{margin:.4rem 0}
summary{cursor:pointer}
summary .status{font-weight:600}
details.good .status{color:var(--good)}details.bad .status{color:var(--bad)}details.passed_over .status{color:var(--soft)}
@media (max-width:700px){
main{padding:14px 10px 40px}
.sequence.wide{display:none}.sequence.narrow{display:block}
.card{padding:12px}
dl{grid-template-columns:minmax(0,1fr)}
dd{margin-bottom:.35rem}
table,tbody,tr,th,td{display:block}
thead{display:none}
tr{border-top:1px solid var(--line);padding:.4rem 0}
th,td{border:0;padding:.1rem .3rem}
td[data-of]::before{content:attr(data-of) ": ";color:var(--soft)}
td:empty{display:none}
}
@media print{body{background:#fff}.card{break-inside:avoid}}
`
