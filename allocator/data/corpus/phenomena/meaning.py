"""Rules that rest on what words mean: time and degree."""

from allocator.data.corpus.templates import Phenomenon, crossed, swapped

# Tense fits the adverbs and clauses of time.
TENSE = Phenomenon(
    name="tense",
    frames=(
        crossed(
            "{np1} [y] [x].", ("yesterday", "{sneeze.past}"), ("tomorrow", "will {sneeze.base}")
        ),
        crossed(
            "{np1} [y] {np2} [x].",
            ("yesterday", "{admire.past}"),
            ("tomorrow", "will {admire.base}"),
        ),
        crossed(
            "[x], {np1} [y] {where}.",
            ("yesterday", "{sneeze.past}"),
            ("tomorrow", "will {sneeze.base}"),
        ),
        crossed(
            "{np1} [y] {where} [x].",
            ("last {period}", "{sneeze.past}"),
            ("next {period}", "will {sneeze.base}"),
        ),
        crossed(
            "[x], the {person1.sg} who {admire1.past} {np1} [y] {np2}.",
            ("last {period}", "{admire2.past}"),
            ("next {period}", "will {admire2.base}"),
        ),
        swapped(
            "the {person1.sg} who {sneeze.past} [x] will {admire.base} {np1} [y].",
            "yesterday",
            "tomorrow",
        ),
        swapped(
            "{np1} {admire1.past} {np2} [x] but will {admire2.base} {np3} [y].",
            "last {period}",
            "next {period}",
        ),
        crossed(
            # In a clause of time the present stands for the future.
            "as soon as {np1} [x] {where}, {np2} [y]",
            ("{sneeze1.past}", "{sneeze2.past}"),
            ("{sneeze1.third}", "will {sneeze2.base}"),
        ),
        crossed(
            "{np1} [y] {np2} when {np3} [x]",
            ("{sneeze1.past}", "{admire.past}"),
            ("{sneeze1.third}", "will {admire.base}"),
        ),
    ),
)

# The degree word, the form of the adjective and the standard of comparison fit together.
COMPARATIVES = Phenomenon(
    name="comparatives",
    frames=(
        crossed("{np1} is [x] [y] {np2}", ("as {adj.base}", "as"), ("{adj.er}", "than")),
        crossed(
            "{np1} was [x] after the {person.pl} {sneeze.past} [y] before",
            ("as {adj.base}", "as"),
            ("{adj.er}", "than"),
        ),
        crossed(
            "{name1} [x]",
            ("is [y] than {np2}", "{adj.er}"),
            ("is the [y] of all the {person.pl}", "{adj.est}"),
        ),
        crossed(
            "{name1} is [x]",
            ("[y] {long} than {np2}", "more"),
            ("the [y] {long} of all the {person.pl}", "most"),
        ),
        crossed(
            "[x] that {np1} {sneeze.past}",
            ("the {thing.pl} were [y] {quality}", "so"),
            ("{np2} {repair.past} [y] {quality} {thing.pl}", "such"),
        ),
        crossed(
            "{np1} {repair.past} [x] {thing1.pl} [y] {thing2.pl}",
            ("as many", "as"),
            ("more", "than"),
        ),
    ),
)
