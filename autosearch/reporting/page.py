"""The report as one HTML file: no network, light and dark, printable."""

import html
import json
from collections.abc import Sequence
from importlib import resources
from typing import Any

import numpy as np
import plotly.graph_objects as go
from plotly.io.json import to_json_plotly

from autosearch.reporting.facts import plural
from autosearch.reporting.headline import Figure, headline
from autosearch.reporting.material import Code, Material, Part, Section, Table
from autosearch.reporting.sections import all_sections

_ASSETS = "autosearch.reporting"


@np.errstate(over="ignore", invalid="ignore")  # some values lie near the end of the range of floats
def report_html(material: Material) -> str:
    """The whole report as a page.

    It needs no network: plotly.js is in it once, figures are data that a small script draws as they come into sight.
    """
    sections = all_sections(material)
    figures: list[go.Figure] = []
    body = [_section(section, index, figures) for index, section in enumerate(sections)]
    title = html.escape(f"{material.name}: report")
    return "\n".join(
        [
            "<!doctype html>",
            '<html lang="en"><head><meta charset="utf-8">',
            '<meta name="viewport" content="width=device-width, initial-scale=1">',
            '<meta name="color-scheme" content="light dark">',
            f"<title>{title}</title>",
            f"<style>{_asset('page.css')}</style></head><body><main>",
            _head(material),
            _headline(headline(material)),
            _contents(sections),
            *body,
            "</main>",
            _script_data(figures),
            f"<script>{_plotly()}</script>",
            f"<script>{_asset('page.js')}</script>",
            "</body></html>",
        ]
    )


def _asset(name: str) -> str:
    return (resources.files(_ASSETS) / name).read_text(encoding="utf-8")


def _plotly() -> str:
    from plotly.offline import get_plotlyjs

    # Nothing in it may end the element that holds it.
    return str(get_plotlyjs()).replace("</script", "<\\/script")


def _script_data(figures: Sequence[go.Figure]) -> str:
    """Figures as JSON that no text in them can break out of."""
    texts = []
    for figure in figures:
        plain = figure.to_plotly_json()
        # The page brings one template a colour scheme for all figures.
        layout = {key: value for key, value in plain["layout"].items() if key != "template"}
        texts.append(to_json_plotly({**plain, "layout": layout}))
    joined = ",".join(texts).replace("<", "\\u003c").replace("\u2028", "\\u2028").replace("\u2029", "\\u2029")
    return f'<script type="application/json" id="figures">[{joined}]</script>'


def _head(material: Material) -> str:
    goals = ", ".join(f"{goal.direction} {goal.metric}" for goal in material.history.problem.objectives)
    words = (
        f"{goals or 'no objectives'} over {plural(material.history.problem.space.dimensions, 'parameter')}"
    )
    written = f" · {material.written}" if material.written else ""
    return (
        f'<header><p class="kind">autosearch report</p><h1>{html.escape(material.name)}</h1>'
        f'<p class="sub">{html.escape(words + written)}</p></header>'
    )


def _headline(numbers: Sequence[Figure]) -> str:
    cards = "".join(
        f'<div class="card"><div class="label">{html.escape(n.label)}</div>'
        f'<div class="value">{html.escape(n.value)}</div><div class="detail">{html.escape(n.detail)}</div></div>'
        for n in numbers
    )
    return f'<section class="cards" aria-label="headline">{cards}</section>'


def _contents(sections: Sequence[Section]) -> str:
    links = "".join(f'<a href="#s{i}">{html.escape(section.title)}</a>' for i, section in enumerate(sections))
    return f"<nav>{links}</nav>"


def _section(section: Section, index: int, figures: list[go.Figure]) -> str:
    lead = f'<p class="lead">{html.escape(section.lead)}</p>' if section.lead else ""
    parts = "".join(_part(part, figures) for part in section.parts)
    return f'<section id="s{index}"><h2>{html.escape(section.title)}</h2>{lead}{parts}</section>'


def _part(part: Part, figures: list[go.Figure]) -> str:
    if isinstance(part, str):
        return f"<p>{html.escape(part)}</p>"
    if isinstance(part, Table):
        return _table(part)
    if isinstance(part, Code):
        caption = html.escape(part.caption)
        block = f"<pre><code>{html.escape(part.text)}</code></pre>"
        return _folded(caption, block) if part.folded else f"<p>{caption}</p>{block}"
    figures.append(part)
    height = int(part.layout.height or 380)
    title = html.escape(part.layout.title.text or "figure")
    place = f'data-figure="{len(figures) - 1}" style="min-height:{height}px" aria-label="{title}"'
    return f'<figure class="plot" {place}></figure>'


def _table(table: Table) -> str:
    plain = not any(table.columns)
    head = (
        "" if plain else "<tr>" + "".join(f"<th>{html.escape(str(c))}</th>" for c in table.columns) + "</tr>"
    )
    rows = "".join("<tr>" + "".join(_cell(cell) for cell in row) + "</tr>" for row in table.rows)
    block = f'<div class="scroll"><table>{head}{rows}</table></div>'
    caption = html.escape(table.caption)
    if table.folded:
        return _folded(caption or "table", block)
    return (f'<p class="caption">{caption}</p>' if caption else "") + block


def _folded(summary: str, block: str) -> str:
    return f"<details><summary>{summary}</summary>{block}</details>"


_LEVELS = {"fine": "good", "note": "note", "look": "warn"}


def _cell(value: Any) -> str:
    if isinstance(value, bool) or value is None:
        return f"<td>{json.dumps(value)}</td>"
    if isinstance(value, int | float):
        shown = f"{value:.5g}" if isinstance(value, float) else str(value)
        return f'<td class="number">{html.escape(shown)}</td>'
    shown = html.escape(str(value))
    badge = _LEVELS.get(str(value))
    return f'<td><span class="badge {badge}">{shown}</span></td>' if badge else f"<td>{shown}</td>"
