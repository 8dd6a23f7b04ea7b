"""The report as one HTML file that needs no network."""

from __future__ import annotations

import html
from collections.abc import Mapping, Sequence

import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

from allocator.tuning.report.sections import Section, write_html_table

_HEIGHT = 480  # pixels of a figure whose layout has none
# Nothing may be loaded; plotly sets styles on elements and makes pictures of what it draws.
_POLICY = "default-src 'none'; script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data:"
_STYLE = """
body { font: 16px/1.5 Helvetica, Arial, sans-serif; color: #222; max-width: 1000px;
       margin: 0 auto; padding: 24px; }
h1 { font-size: 26px; margin: 0 0 4px; } h2 { font-size: 20px; margin: 40px 0 8px; }
nav { margin: 16px 0; } nav a { margin-right: 16px; white-space: nowrap; }
a { color: #0072B2; } .subtitle { color: #555; margin: 0; }
section:first-of-type p:first-of-type { font-size: 18px; font-weight: bold; }
table { border-collapse: collapse; margin: 20px 0; font-size: 14px; }
caption { text-align: left; color: #555; padding-bottom: 4px; }
th, td { padding: 4px 12px; border-bottom: 1px solid #E5E5E5; text-align: left;
         vertical-align: top; overflow-wrap: anywhere; }
th { border-bottom: 1px solid #888; }
td.number { text-align: right; font-variant-numeric: tabular-nums; white-space: nowrap; }
pre { background: #F4F4F4; padding: 12px; overflow-x: auto; font-size: 13px; }
.figure { margin: 20px 0; }
@media print { nav { display: none; } section { break-inside: avoid-page; } }
"""


def write_html_report(
    title: str, subtitle: str, sections: Sequence[Section], figures: Mapping[str, go.Figure]
) -> str:
    """Write a report as one HTML file.

    Args:
        title: Its title.
        subtitle: A line below it.
        sections: Its sections; those of which nothing is there to show are left out.
        figures: Figures by name; a section's figures that are missing here are left out.
    """
    written = [(section, _write_section(section, figures)) for section in sections]
    shown = [(section, content) for section, content in written if content]
    links = "\n".join(
        f'<a href="#{section.anchor}">{html.escape(section.title)}</a>' for section, _ in shown
    )
    body = "\n".join(
        f'<section id="{section.anchor}">\n<h2>{html.escape(section.title)}</h2>\n{content}\n'
        "</section>"
        for section, content in shown
    )
    return f"""<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta http-equiv="Content-Security-Policy" content="{_POLICY}">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{html.escape(title)}</title>
<style>{_STYLE}</style>
<script>{get_plotlyjs()}</script>
</head>
<body>
<h1>{html.escape(title)}</h1>
<p class="subtitle">{html.escape(subtitle)}</p>
<nav>
{links}
</nav>
{body}
</body>
</html>
"""


def _write_section(section: Section, figures: Mapping[str, go.Figure]) -> str:
    parts = [f"<p>{html.escape(paragraph)}</p>" for paragraph in section.paragraphs]
    if section.points:
        items = "\n".join(f"<li>{html.escape(point)}</li>" for point in section.points)
        parts.append(f"<ul>\n{items}\n</ul>")
    parts += map(write_html_table, section.tables)
    if section.commands:
        parts.append(f"<pre>{html.escape(chr(10).join(section.commands))}</pre>")
    parts += [_write_figure(name, figures[name]) for name in section.figures if name in figures]
    return "\n".join(parts)


def _write_figure(name: str, figure: go.Figure) -> str:
    drawn = figure.to_html(
        full_html=False,
        include_plotlyjs=False,
        config={"responsive": True, "displayModeBar": False},
        default_height=f"{figure.layout.height or _HEIGHT}px",
        div_id=name,
    )
    return f'<div class="figure">{drawn}</div>'
