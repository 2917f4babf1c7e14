"""The page of a report: HTML, style and pictures in one file that loads nothing."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from html import escape

from .pictures import Tile, data_uri

__all__ = ["details", "page", "section", "table", "tiles"]

STYLE = """
:root{color-scheme:light dark;--paper:#fff;--ink:#1c2024;--soft:#5c6670;--line:#dfe3e8;--card:#f5f7f9;
--c0:#2563eb;--c1:#d9480f;--c2:#2b8a3e;--c3:#9c36b5;--c4:#0b7285;--c5:#846358}
@media(prefers-color-scheme:dark){:root{--paper:#14171a;--ink:#e6e9ec;--soft:#9aa4ae;--line:#30363d;--card:#1d2125;
--c0:#7aa7ff;--c1:#ff9a62;--c2:#69db7c;--c3:#e599f7;--c4:#66d9e8;--c5:#d0b8a8}}
*{box-sizing:border-box}
body{margin:0 auto;max-width:68rem;padding:1rem;background:var(--paper);color:var(--ink);
font:16px/1.5 system-ui,sans-serif}
h1{font-size:1.6rem;margin:.5rem 0 0;overflow-wrap:anywhere}
h2{font-size:1.2rem;margin:2.2rem 0 .6rem;border-bottom:1px solid var(--line)}
h3{font-size:1rem;margin:1.2rem 0 .4rem}
p{margin:.4rem 0;max-width:46rem}
.soft,figcaption,th{color:var(--soft)}
.row{display:flex;flex-wrap:wrap;gap:.8rem}
.big{background:var(--card);border-radius:.5rem;padding:.6rem 1rem;min-width:8rem;flex:1}
.big b{display:block;font-size:1.5rem}
.wide{overflow-x:auto;margin-bottom:.8rem}
table{border-collapse:collapse;font-variant-numeric:tabular-nums}
th,td{text-align:left;padding:.25rem .9rem .25rem 0;border-bottom:1px solid var(--line);font-weight:400}
td.n{text-align:right}
.charts{display:grid;grid-template-columns:repeat(auto-fill,minmax(min(100%,17rem),1fr));gap:1rem}
figure{margin:0}
.chart{background:var(--card);border-radius:.5rem;padding:.5rem}
.chart svg{width:100%;height:auto;display:block}
svg text{fill:var(--soft);font:11px system-ui,sans-serif}
.grid{stroke:var(--line)}
polyline{fill:none;stroke-width:2;stroke-linejoin:round}
polyline.c0{stroke:var(--c0)}polyline.c1{stroke:var(--c1)}polyline.c2{stroke:var(--c2)}
polyline.c3{stroke:var(--c3)}polyline.c4{stroke:var(--c4)}polyline.c5{stroke:var(--c5)}
rect.c0,circle.c0{fill:var(--c0)}circle.c1{fill:var(--c1)}circle.c2{fill:var(--c2)}
circle.c3{fill:var(--c3)}circle.c4{fill:var(--c4)}circle.c5{fill:var(--c5)}
.key{margin-left:.6rem;white-space:nowrap}
.key::before{content:"";display:inline-block;width:.7rem;height:.7rem;border-radius:50%;margin-right:.3rem}
.key.c0::before{background:var(--c0)}.key.c1::before{background:var(--c1)}.key.c2::before{background:var(--c2)}
.key.c3::before{background:var(--c3)}.key.c4::before{background:var(--c4)}.key.c5::before{background:var(--c5)}
.tiles{display:flex;flex-wrap:wrap;gap:.35rem}
.tiles figure{font-size:.75rem;max-width:14rem}
.tiles img{display:block;max-width:100%;border-radius:.25rem}
.tiles figcaption{overflow-wrap:anywhere}
.small img{width:4rem;image-rendering:pixelated}
pre{background:var(--card);border-radius:.5rem;padding:.7rem;overflow-x:auto;font-size:.85rem}
summary{cursor:pointer;padding:.3rem 0}
"""


def page(title: str, subtitle: str, numbers: Sequence[tuple[str, str]], body: Iterable[str]) -> str:
    """The whole page. numbers  what to read first: a name and a value each."""
    tiles = "".join(f'<div class="big"><b>{escape(value)}</b>{escape(name)}</div>' for name, value in numbers)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'\">"
        f"<title>{escape(title)}</title><style>{STYLE}</style></head>\n<body><header><h1>{escape(title)}</h1>"
        f'<p class="soft">{escape(subtitle)}</p><div class="row">{tiles}</div></header>\n'
        f"<main>{''.join(body)}</main></body></html>\n"
    )


def section(title: str, *parts: str) -> str:
    """A part of the page; nothing if it has no content."""
    inside = "".join(parts)
    return f"<section><h2>{escape(title)}</h2>{inside}</section>\n" if inside else ""


def table(rows: Sequence[Sequence[str]], head: Sequence[str] = ()) -> str:
    """Rows of text; numbers are set to the right. Nothing without rows."""
    if not rows:
        return ""
    top = "".join(f"<th>{escape(cell)}</th>" for cell in head)
    lines = "".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in rows)
    return f'<div class="wide"><table>{f"<tr>{top}</tr>" if top else ""}{lines}</table></div>'


def _cell(text: str) -> str:
    return f"<td{' class=n' if re.fullmatch('[0-9.,]+', text) else ''}>{escape(text)}</td>"


def tiles(pictures: Iterable[Tile], small: bool = False) -> str:
    """Pictures beside each other, with their words below. small  crops, enlarged without smoothing."""
    shown = [
        f'<figure><img src="{data_uri(tile.picture)}" alt="{escape(tile.words)}">'
        f"{f'<figcaption>{escape(tile.words)}</figcaption>' if tile.words else ''}</figure>"
        for tile in pictures
    ]
    return f'<div class="tiles{" small" if small else ""}">{"".join(shown)}</div>' if shown else ""


def details(texts: Mapping[str, str]) -> str:
    """Long texts, closed until asked for."""
    return "".join(
        f"<details><summary>{escape(name)}</summary><pre>{escape(text)}</pre></details>" for name, text in texts.items()
    )
