"""Sections of a report as HTML and as Markdown."""

from __future__ import annotations

from rich.table import Table

from allocator.tuning.report.html_report import write_html_report
from allocator.tuning.report.sections import Section, write_html_table, write_markdown


def make_table() -> Table:
    table = Table(title="of <b>")
    table.add_column("name")
    table.add_column("count", justify="right")
    table.add_row("a|b & <script>", "1,000")
    return table


def test_a_table_becomes_html_that_says_what_it_says() -> None:
    text = write_html_table(make_table())
    assert "<caption>of &lt;b&gt;</caption>" in text
    assert "<th>name</th><th>count</th>" in text
    assert "<td>a|b &amp; &lt;script&gt;</td><td class=number>1,000</td>" in text


def test_a_section_becomes_markdown_that_nothing_in_it_can_break() -> None:
    section = Section(
        title="Why?",
        paragraphs=["rank head_dim: *nothing*"],
        points=["a_b"],
        tables=[make_table()],
        commands=["allocator predict --study a_b"],
        figures=["race"],
    )
    assert write_markdown(section) == (
        "## Why?\n\n"
        "rank head\\_dim: \\*nothing\\*\n\n"
        "- a\\_b\n\n"
        "of \\<b>\n\n"
        "| name | count |\n"
        "| --- | ---: |\n"
        "| a\\|b & \\<script> | 1,000 |\n\n"
        "```\nallocator predict --study a_b\n```"
    )


def test_a_report_has_a_link_to_every_section_and_none_to_an_empty_one() -> None:
    sections = [
        Section(title="How sure is it?", paragraphs=["<i>"]),
        Section(title="Spectra", figures=["not-drawn"]),
    ]
    text = write_html_report("<t>", "below", sections, {})
    assert '<a href="#how-sure-is-it">How sure is it?</a>' in text
    assert '<section id="how-sure-is-it">' in text
    assert "<p>&lt;i&gt;</p>" in text
    assert "<title>&lt;t&gt;</title>" in text
    assert "Spectra" not in text.split("<body>")[1]
