"""A section of a report, and its tables as HTML and as Markdown."""

from __future__ import annotations

import html
from collections.abc import Sequence
from dataclasses import dataclass

from rich.table import Table


@dataclass(frozen=True, kw_only=True, slots=True)
class Section:
    """One part of a report: what it answers, in words, tables and figures, in this order.

    Attributes:
        title: The question that it answers, or what it holds.
        paragraphs: Plain sentences.
        points: Plain sentences, as a list.
        tables: Tables of text.
        commands: Lines that can be copied into a shell.
        figures: Names of figures.
    """

    title: str
    paragraphs: Sequence[str] = ()
    points: Sequence[str] = ()
    tables: Sequence[Table] = ()
    commands: Sequence[str] = ()
    figures: Sequence[str] = ()

    @property
    def anchor(self) -> str:
        """Name of the section in links."""
        return "-".join("".join(c for c in self.title.lower() if c.isalpha() or c == " ").split())


def write_html_table(table: Table) -> str:
    """Write a table as HTML."""
    head = "".join(f"<th>{html.escape(str(column.header))}</th>" for column in table.columns)
    rows = [
        "".join(
            # Numbers are on the right, under each other.
            f"<td{' class=number' if column.justify == 'right' else ''}>{html.escape(cell)}</td>"
            for column, cell in zip(table.columns, row, strict=True)
        )
        for row in _list_rows(table)
    ]
    caption = f"<caption>{html.escape(str(table.title))}</caption>" if table.title else ""
    body = "\n".join(f"<tr>{row}</tr>" for row in rows)
    return f"<table>{caption}\n<thead><tr>{head}</tr></thead>\n<tbody>\n{body}\n</tbody></table>"


def write_markdown_table(table: Table) -> str:
    """Write a table as GitHub's Markdown, its title as a line before it."""
    sides = ["---:" if column.justify == "right" else "---" for column in table.columns]
    lines = [[str(column.header) for column in table.columns], sides, *_list_rows(table)]
    written = "\n".join(f"| {' | '.join(map(escape_markdown, line))} |" for line in lines)
    return f"{escape_markdown(str(table.title))}\n\n{written}" if table.title else written


def write_markdown(section: Section) -> str:
    """Write a section as GitHub's Markdown, without its figures."""
    parts = [f"## {section.title}", *map(escape_markdown, section.paragraphs)]
    if section.points:
        parts.append("\n".join(f"- {escape_markdown(point)}" for point in section.points))
    parts += map(write_markdown_table, section.tables)
    if section.commands:
        parts.append("\n".join(["```", *section.commands, "```"]))
    return "\n\n".join(parts)


def _list_rows(table: Table) -> list[tuple[str, ...]]:
    cells = [[str(cell) for cell in column.cells] for column in table.columns]
    return list(zip(*cells, strict=True))


def escape_markdown(text: str) -> str:
    """Escape what Markdown would read as a table's border, emphasis, code or HTML."""
    for special in ("\\", "|", "*", "_", "`", "<", "["):
        text = text.replace(special, f"\\{special}")
    return text
