"""Rules about words that depend on each other at a distance."""

from allocator.data.corpus.templates import Phenomenon, crossed, swapped

# No gap inside a relative clause, an adjunct, a subject or a noun's complement clause.
ISLANDS = Phenomenon(
    name="islands",
    frames=(
        swapped("who did the {person.sg} that {admire1.past} [x] {admire2.base} [y]?", "{np1}", ""),
        swapped(
            "what did {np1} {repair1.base} [x] before {np2} {repair2.past} [y]?",
            "",
            "the {thing.sg}",
        ),
        swapped("who did {np1} {admire1.base} [x] because {np2} {admire2.past} [y]?", "", "{np3}"),
        swapped("who did the {report.sg} about [x] {amuse.base} [y]?", "{np1}", ""),
        swapped(
            "who did the {idea.sg} that {np1} {admire.past} [x] {amuse.base} [y]?", "{np2}", ""
        ),
        swapped("{np1} {know.past} who the {report.sg} about [x] {amuse.past} [y]", "{np2}", ""),
        swapped(
            "{np1} {know.past} what {np2} {repair1.past} [x] after {np3} {repair2.past} [y]",
            "",
            "the {thing.sg}",
        ),
        swapped(
            "the {thing1.sg} {np1} {repair1.past} [x] when {np2} {repair2.past} [y] {vanish.past}",
            "",
            "the {thing2.sg}",
        ),
        swapped(
            "the {person1.sg} that the {report.sg} about [x] {amuse.past} [y] {sneeze.past}",
            "{np1}",
            "",
        ),
    ),
)

# Pairs of a word that opens the clause and what fills its object; empty is a gap.
_OBJECT = (("what", ""), ("that", "the {thing.sg}"))
# `np4`, because the frames use `np1` to `np3` themselves.
_PERSON = (("who", ""), ("that", "{np4}"))

# A wh-word needs a gap, and a gap needs a wh-word.
FILLER_GAPS = Phenomenon(
    name="filler_gaps",
    frames=(
        crossed("[x] did {np1} {admire.base} [y]?", ("who", ""), ("why", "them")),
        crossed("[x] had {np1} {repair.participle} [y]?", ("what", ""), ("when", "it")),
        crossed("{np1} {know.past} [x] {np2} {admire.past} [y]", ("who", ""), ("that", "us")),
        crossed("[x] did {np1} {repair.base} [y]?", ("what", ""), ("when", "the {thing.sg}")),
        crossed("[x] had {np1} {admire.participle} [y]?", ("who", ""), ("why", "{np2}")),
        crossed("{np1} {know.past} [x] {np2} {repair.past} [y]", *_OBJECT),
        crossed("{np1} {know.past} [x] {np2} {repair.past} [y] {where}", *_OBJECT),
        crossed("{np1} {know.past} [x] {np2} {admire.past} [y] {where}", *_PERSON),
        crossed("{np1} {know.past} [x] {np2} {think.past} that {np3} {repair.past} [y]", *_OBJECT),
        crossed("{np1} {know.past} [x] {np2} {persuade.past} {np3} to {admire.base} [y]", *_PERSON),
        crossed(
            "[x] did {np1} {repair.base} [y] {where}?", ("what", ""), ("when", "the {thing.sg}")
        ),
        crossed(
            "[x] did {np1} {think.base} that {np2} {admire.past} [y] {where}?",
            ("who", ""),
            ("why", "{np3}"),
        ),
        crossed(
            "the {person.sg} {know.past} [x] {np1} {decide.past} to {repair.base} [y] {where}",
            *_OBJECT,
        ),
    ),
)

# `Ever`, `any` and `at all` stand in the scope of a negative that commands them.
NEGATIVE_POLARITY = Phenomenon(
    name="negative_polarity",
    frames=(
        swapped(
            "[x] {person1.pl} that [y] {person2.pl} {admire.past} have ever {sneeze.participle}",
            "no",
            "the",
        ),
        swapped(
            "[x] {person1.pl} that [y] {person2.pl} {admire.past} {repair.past} any {thing.pl}",
            "few",
            "the",
        ),
        swapped(
            "[x] who {admire.past} [y] has ever {sneeze.participle} {where}",
            "nobody",
            "the {person.sg}",
        ),
        swapped(
            "the {person.sg} who had [x] {sneeze.participle} "
            "had [y] {repair.participle} any {thing.pl}",
            "",
            "not",
        ),
        swapped(
            "the {person.sg} who had [x] {admire.participle} us had [y] {sneeze.participle} at all",
            "",
            "not",
        ),
        swapped(
            "{np1} {say.past} that [x] {sneeze1.past} but that [y] had ever {sneeze2.participle}",
            "{np2}",
            "nobody",
        ),
        swapped(
            "[x] {report.sg} about [y] {person.sg} had ever {amuse.participle} {np1}", "no", "the"
        ),
        swapped(
            "if {np1} has [x] {sneeze1.participle}, {np2} has [y] {sneeze2.participle} too.",
            "ever",
            "",
        ),
    ),
)

# Only weak quantifiers follow existential `there`.
EXISTENTIALS = Phenomenon(
    name="existentials",
    frames=(
        swapped(
            "there was [x] {thing.sg} {where} that [y] {person.sg} {repair.past}", "a", "every"
        ),
        swapped(
            "there was [x] {person1.sg} {where} who {admire.past} [y] {person2.sg}", "no", "each"
        ),
        swapped(
            "there were [x] {thing.pl} {where} that [y] {person.pl} {repair.past}",
            "several",
            "most",
        ),
        swapped(
            "there were [x] {person1.pl} {where} who {admire.past} [y] {person2.pl}", "many", "all"
        ),
        swapped(
            "[y] {person.sg} {know.past} that there was [x] {thing.sg} {where}", "another", "each"
        ),
        swapped(
            "[y] {person.pl} {say.past} that there were [x] {thing.pl} {where}", "some", "most"
        ),
        swapped(
            "{np1} {repair.past} [y] {thing1.sg} because there was [x] {thing2.sg} {where}",
            "a",
            "every",
        ),
    ),
)

# What is left out must be recoverable: the remnant matches its antecedent.
ELLIPSIS = Phenomenon(
    name="ellipsis",
    frames=(
        crossed(
            "{np1} had {spot.participle} [x] {where}, but {np2} did not {know.base} [y]",
            ("someone", "who"),
            ("something", "what"),
        ),
        crossed(
            "[x]",
            ("{np1} has {sneeze.participle} {where}, and {np2} has [y]", "too"),
            ("{np1} has not {sneeze.participle} {where}, and {np2} has not [y]", "either"),
        ),
        crossed(
            "{np1} [x] {sneeze.participle} {where}, and [y] has {np2}",
            ("has", "so"),
            ("has not", "neither"),
        ),
        crossed(
            "{male} [x] {where}, [y] he?",
            ("has {sneeze.participle}", "hasn't"),
            ("will {sneeze.base}", "won't"),
            ("was {sneeze.ing}", "wasn't"),
        ),
        crossed(
            "{female} [x] {where}, [y] she?",
            ("has {sneeze.participle}", "hasn't"),
            ("will {sneeze.base}", "won't"),
            ("was {sneeze.ing}", "wasn't"),
        ),
        crossed(
            "[x] {admire.past} the {person2.pl} {where}, didn't [y]?",
            ("{male}", "he"),
            ("{female}", "she"),
            ("the {person1.pl}", "they"),
        ),
        crossed(
            "[x] {where} before {np2} [y]",
            ("{np1} {sneeze.past}", "did"),
            ("{np1} will {sneeze.base}", "does"),
        ),
    ),
)
