// SPDX-License-Identifier: Apache-2.0
#pragma once

#include <string_view>

namespace hashevict::cli {

/// The report's style sheet. It has no character with a meaning in XML, so the page parses as XML, too.
inline constexpr std::string_view kStyle = R"css(
:root {
  color-scheme: light dark;
  --page: #fbfbf9; --card: #ffffff; --ink: #1c1f24; --muted: #626a75; --rule: #e2e3e0; --ground: #f1f1ee;
  --full: 28 31 36; --paper: 201 66 41; --superseded: 14 107 184; --recall: 190 50 130; --window: 124 92 176; --random: 26 131 94;
}
@media (prefers-color-scheme: dark) {
  :root {
    --page: #121418; --card: #191c21; --ink: #e9eaec; --muted: #9da5b0; --rule: #2c3037; --ground: #20242a;
    --full: 233 234 236; --paper: 255 128 98; --superseded: 92 178 255; --recall: 255 130 205; --window: 188 158 255; --random: 88 205 158;
  }
}
* { box-sizing: border-box; }
body {
  margin: 0; background: var(--page); color: var(--ink);
  font: 16px/1.55 system-ui, -apple-system, "Segoe UI", Roboto, "Noto Sans", "Helvetica Neue", sans-serif;
}
main { max-width: 1120px; margin: 0 auto; padding: 56px 28px 80px; }
header { margin-bottom: 36px; }
.eyebrow { color: var(--muted); font-size: 13px; letter-spacing: .08em; text-transform: uppercase; margin: 0 0 6px; }
h1 { font-size: 36px; line-height: 1.15; letter-spacing: -.015em; font-weight: 650; margin: 0 0 12px; }
h2 { font-size: 21px; line-height: 1.3; letter-spacing: -.005em; font-weight: 640; margin: 60px 0 6px; }
p { margin: 0 0 14px; max-width: 76ch; }
.lead { font-size: 17px; color: var(--muted); }
.notes { color: var(--muted); font-size: 14px; }
.tiles { display: grid; grid-template-columns: repeat(auto-fit, minmax(158px, 1fr)); gap: 12px; margin: 22px 0 24px; }
.tile { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 14px 16px 12px; }
.tile b { display: block; font-size: 21px; white-space: nowrap; font-weight: 640; line-height: 1.15; letter-spacing: -.02em;
  font-variant-numeric: tabular-nums; color: rgb(var(--c)); }
.tile span { display: block; font-size: 13px; color: var(--muted); }
.findings { padding-left: 20px; margin: 0; max-width: 78ch; }
.findings li { margin-bottom: 6px; }
.full { --c: var(--full); } .paper { --c: var(--paper); } .superseded { --c: var(--superseded); }
.recall { --c: var(--recall); }
.window { --c: var(--window); } .random { --c: var(--random); }
.card { background: var(--card); border: 1px solid var(--rule); border-radius: 10px; padding: 20px 22px; }
.pair { display: grid; grid-template-columns: repeat(auto-fit, minmax(430px, 1fr)); gap: 16px; margin-top: 18px; }
.many { display: grid; grid-template-columns: repeat(auto-fit, minmax(195px, 1fr)); gap: 12px; margin-top: 18px; }
.many .card { padding: 14px 14px 6px; }
.scroll { overflow-x: auto; margin-top: 18px; }
.scroll svg { min-width: 900px; }
svg { display: block; width: 100%; height: auto; overflow: visible; }
svg text { fill: var(--ink); font-size: 12.5px; font-family: inherit; }
svg .title { font-weight: 640; font-size: 15px; }
svg .note { fill: var(--muted); }
svg .tick { fill: var(--muted); font-size: 11.5px; font-variant-numeric: tabular-nums; }
svg .label { font-weight: 620; fill: rgb(var(--c)); font-size: 13px; }
svg .grid { stroke: var(--rule); }
svg .reference { stroke: rgb(var(--full)); stroke-dasharray: 4 4; stroke-opacity: .55; }
.series path { fill: none; stroke: rgb(var(--c)); stroke-width: 2.2; stroke-linejoin: round; }
.series.equal path { stroke-dasharray: 5 4; stroke-opacity: .75; }
.series.equal rect, .series.equal circle, .series.equal polygon { fill: var(--card); stroke: rgb(var(--c)); }
.series .error { stroke: rgb(var(--c)); stroke-width: 1.4; stroke-opacity: .6; }
.series rect, .series circle, .series polygon { fill: rgb(var(--c)); stroke: var(--card); stroke-width: 1.4; }
.legend { display: flex; flex-wrap: wrap; gap: 6px 22px; margin: 14px 0 0; padding: 0; list-style: none;
  font-size: 14px; color: var(--muted); }
.legend svg { width: 14px; height: 14px; display: inline-block; vertical-align: -2px; margin-right: 7px; }
.legend b { color: var(--ink); font-weight: 600; }
table { border-collapse: collapse; width: 100%; font-size: 14.5px; font-variant-numeric: tabular-nums; }
th { text-align: right; font-weight: 600; color: var(--muted); font-size: 13px; padding: 6px 12px; white-space: nowrap;
  border-bottom: 1px solid var(--rule); }
td { text-align: right; padding: 7px 12px; border-bottom: 1px solid var(--rule); white-space: nowrap; }
tr:last-child td { border-bottom: 0; }
tr.first td { border-top: 2px solid var(--rule); }
th:first-child, td:first-child { text-align: left; padding-left: 0; font-weight: 600; color: rgb(var(--c, var(--full))); }
td small { color: var(--muted); font-size: 12px; }
td.bar { background: linear-gradient(rgb(var(--c) / .18), rgb(var(--c) / .18)) no-repeat left center / var(--v) 62%; }
.map path { stroke: rgb(var(--c)); stroke-width: 1; fill: none; }
.map .ground { fill: var(--ground); }
.map .fact { fill: var(--ink); fill-opacity: .2; }
.slots .ground { fill: var(--ground); }
.slots .share { fill: rgb(var(--full)); }
.scale { display: flex; align-items: center; gap: 10px; font-size: 13px; color: var(--muted); margin: 12px 0 0; }
.scale i { width: 180px; height: 12px; border-radius: 3px; border: 1px solid var(--rule);
  background: linear-gradient(90deg, var(--ground), rgb(var(--c))); }
.scale .mark { width: 12px; background: var(--ink); opacity: .35; }
.kept h3 { margin: 0 0 2px; font-size: 15px; color: rgb(var(--c)); }
.kept p { font-size: 13px; color: var(--muted); margin-bottom: 10px; }
pre, code { font-family: ui-monospace, SFMono-Regular, "Cascadia Mono", Menlo, Consolas, "DejaVu Sans Mono", monospace; }
code { font-size: .92em; }
pre { margin: 0; font-size: 11.5px; line-height: 1.5; white-space: pre-wrap; overflow-wrap: anywhere; }
.kept .k0 { color: var(--muted); opacity: .62; }
.k1 { background: rgb(var(--c) / .10); } .k2 { background: rgb(var(--c) / .17); } .k3 { background: rgb(var(--c) / .24); }
.k4 { background: rgb(var(--c) / .32); } .k5 { background: rgb(var(--c) / .41); } .k6 { background: rgb(var(--c) / .50); }
.kept .fact { opacity: 1; border-bottom: 2px solid var(--ink); font-weight: 700; }
.prompt { color: var(--muted); }
.kept .differs { background: rgb(var(--c) / .16); }
.scale span { width: 20px; height: 12px; border-radius: 2px; margin-left: -6px; }
footer { margin-top: 64px; border-top: 1px solid var(--rule); padding-top: 18px; color: var(--muted); font-size: 13.5px; }
@media (max-width: 620px) { main { padding: 32px 16px 56px; } h1 { font-size: 28px; } .pair { grid-template-columns: 1fr; } }
)css";

}  // namespace hashevict::cli
