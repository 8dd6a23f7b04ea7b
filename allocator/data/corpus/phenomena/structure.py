"""Rules about what a word combines with, and in which order."""

from allocator.data.corpus.templates import Phenomenon, crossed, swapped

_ADMIRE = "{admire.past}"
_REPAIR = "{repair.past}"
_SNEEZE = "{sneeze.past}"

# A verb has the objects it needs and no others: transitivity, causatives, datives, passives.
ARGUMENT_STRUCTURE = Phenomenon(
    name="argument_structure",
    frames=(
        crossed("[x]", ("{np1} [y] {np2}", _ADMIRE), ("{np1} [y] {where}", _SNEEZE)),
        crossed(
            "[x]",
            ("the {person.sg} who [y] {np1} {vanish.past}", _ADMIRE),
            ("the {person.sg} who [y] {where} {vanish.past}", _SNEEZE),
        ),
        crossed(
            "[x]",
            ("{np1} [y] the {thing.sg}", _REPAIR),
            ("the {thing.sg} [y] {where}", "{vanish.past}"),
        ),
        crossed(
            "[x]",
            ("the {thing.sg} was [y] {where}", "{repair.participle}"),
            ("{np1} had [y] {where}", "{sneeze.participle}"),
        ),
        swapped("{np1} [x] the {thing.sg} before {np2} [y]", _REPAIR, _SNEEZE),
        swapped("the {person1.sg} who [y] [x] the {person2.pl}", _ADMIRE, _SNEEZE),
        swapped("when {np1} [y], {np2} [x] {np3}", _ADMIRE, _SNEEZE),
        swapped(
            "{np1} [x] the {thing1.sg} after the {thing2.sg} [y]", "{break.past}", "{vanish.past}"
        ),
        swapped(
            "the {thing1.sg} [y] and {np1} [x] the {thing2.sg}", "{break.past}", "{vanish.past}"
        ),
        swapped("{np1} [x] the {thing1.sg} when the {thing2.sg} [y]", _REPAIR, "{break.past}"),
        swapped(
            # `Give` may have two objects, `donate` only one and a phrase with `to`.
            "{np1} [x] {np2} the {thing1.sg} and {np3} [y] the {thing2.sg} to {np4}",
            "{give.past}",
            "{donate.past}",
        ),
        swapped(
            "{np1} [y] a {thing1.sg} to the {person1.sg} who [x] {np2} a {thing2.sg}",
            "{give.past}",
            "{donate.past}",
        ),
        swapped(
            "the {thing.sg} was [x] by the {person.sg} who had [y] {where}",
            "{repair.participle}",
            "{sneeze.participle}",
        ),
        swapped(
            "{np1} was [x] after {np2} had [y] {where}",
            "{admire.participle}",
            "{sneeze.participle}",
        ),
    ),
)

# Expletive `there` and `it` follow raising predicates; control predicates need a real subject.
RAISING_CONTROL = Phenomenon(
    name="raising_control",
    frames=(
        swapped(
            "there [x] to be a {thing.sg} {where}, but {np1} [y] to {sneeze.base}",
            "{raise.past}",
            "{try.past}",
        ),
        swapped(
            "{np1} [y] to {sneeze.base} because there [x] to be a {thing.sg} {where}",
            "{raise.past}",
            "{try.past}",
        ),
        swapped(
            "it [x] that {np1} had {sneeze1.participle} when {np2} [y] to {sneeze2.base}",
            "{seem.past}",
            "{try.past}",
        ),
        swapped(
            "{np1} [x] there to be a {thing.sg} {where} and [y] {np2} to {sneeze.base}",
            "{expect.past}",
            "{persuade.past}",
        ),
        swapped(
            "{np1} [y] {np2} to {sneeze.base} because {np3} [x] there to be a {thing.sg} {where}",
            "{expect.past}",
            "{persuade.past}",
        ),
        swapped(
            # The subject of `easy` is the infinitive's object; that of `eager` is its subject.
            "the {thing.sg} was [x] for {np1} to {repair.base}, but {np2} was [y] to {sneeze.base}",
            "{easy}",
            "{eager}",
        ),
        swapped(
            "{np1} was [y] to {sneeze.base} but the {thing.sg} was [x] for {np2} to {repair.base}",
            "{easy}",
            "{eager}",
        ),
    ),
)

# A predicate selects its complement: that, whether, for, infinitive or gerund.
COMPLEMENTIZERS = Phenomenon(
    name="complementizers",
    frames=(
        crossed(
            "{np1} [x] [y] {np2} had {sneeze.participle} {where}",
            ("{say.past}", "that"),
            ("{inquire.past}", "whether"),
        ),
        crossed(
            "{np1} [x] [y] the {person1.sg} who {admire.past} {np2} had {sneeze.participle}",
            ("{say.past}", "that"),
            ("{inquire.past}", "whether"),
        ),
        crossed(
            "[x]",
            ("[y] {np1} had {sneeze.participle} {where} was {unclear}", "whether"),
            ("{np1} would {sneeze1.base} {where} [y] {np2} {sneeze2.past}", "if"),
        ),
        crossed(
            "[x]",
            ("{np1} {say.past} [y] {np2} had {sneeze.participle} {where}", "that"),
            ("{np1} {arrange.past} [y] {np2} to {sneeze.base} {where}", "for"),
        ),
        crossed(
            "{np1} [x] [y] {where}",
            ("{enjoy.past}", "{sneeze.ing}"),
            ("{decide.past}", "to {sneeze.base}"),
        ),
        crossed(
            "the {person1.sg} that {np1} {admire.past} [x] [y]",
            ("{enjoy.past}", "{repair.ing} {thing.pl}"),
            ("{decide.past}", "to {repair.base} {thing.pl}"),
        ),
    ),
)

# Adverbs, auxiliaries, particles and modifiers have their place.
WORD_ORDER = Phenomenon(
    name="word_order",
    frames=(
        swapped("{np1} {repair.past} [x] [y]", "the", "{thing.sg}"),
        swapped("{np1} {sneeze.past} [x] [y]", "near", "the {place.sg}"),
        swapped("[x] [y] {sneeze.past} {where}", "the", "{person.sg}"),
        swapped("{np1} [x] [y] the {thing.sg} {where}", "{adverb}", _REPAIR),
        swapped("{np1} {know.past} what [x] [y] {repair.participle} {where}", "{np2}", "had"),
        swapped("what [x] [y] {repair.participle} {where}?", "had", "{np1}"),
        swapped("the {thing.sg} was {quality}, so {np1} {up.past} [x] [y] {where}", "it", "up"),
        swapped("{np1} was [x] [y] to {repair.base} the {thing.sg}", "{adj.base}", "enough"),
        swapped("{np1} {where} [x] [y] {sneeze.participle}", "had", "not"),
        swapped("the [x] [y] {where} {vanish.past}", "{quality}", "{thing.sg}"),
        swapped("never [x] [y] {admire.participle} {np2}", "had", "{np1}"),
        swapped("{np1} {inquire.past} why [x] [y] {admire.participle} {np3}", "{np2}", "had"),
    ),
)
