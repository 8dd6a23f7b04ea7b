"""Rules by which a noun, pronoun or verb takes its form from another word."""

from allocator.data.corpus.templates import Frame, Phenomenon, crossed

_VERB = (
    ("{person1.sg}", "{sneeze1.third}"),
    ("{person1.pl}", "{sneeze1.base}"),
)
_BE = (("{person1.sg}", "is"), ("{person1.pl}", "are"))
_THIS = (("this {person1.sg}", "is"), ("these {person1.pl}", "are"))
_HAVE = (("{person1.sg}", "has"), ("{person1.pl}", "have"))
_DO = (("{person1.sg}", "does"), ("{person1.pl}", "do"))

# The verb agrees with the head of its subject, whatever noun stands nearer to it.
AGREEMENT = Phenomenon(
    name="agreement",
    frames=(
        crossed("[x] [y] {adj.base}", *_THIS),
        crossed("[x] [y] not very {long}", *_THIS),
        crossed("[y] [x] {adj.base}?", *_THIS),
        crossed("[x] near the {place.sg} [y] {adj.base}", *_THIS),
        crossed("the [x] [y] {where}", *_VERB),
        crossed("the [x] [y] very {adj.base}", *_BE),
        crossed("the [x] {where} [y] {sneeze.participle}", *_HAVE),
        crossed("[y] the [x] {sneeze.base}?", *_DO),
        crossed("the [x] near the {person2.pl} [y]", *_VERB),
        crossed("the [x] behind the {place.pl} [y] {adj.base}", *_BE),
        crossed("the [x] that the {person2.pl} {admire.base} [y]", *_VERB),
        crossed("the [x] who {admire.past} the {person2.pl} [y] {adj.base}", *_BE),
        crossed("the [x] who {admire.past} {name} [y] never {sneeze.participle}", *_HAVE),
        crossed("[y] the [x] near the {person2.sg} {sneeze.base} {where}?", *_DO),
    ),
)

_ANTECEDENT = (
    ("{male1}", "himself"),
    ("{female1}", "herself"),
    ("the {person1.pl}", "themselves"),
)
_PRONOUN = (
    ("he", "himself"),
    ("she", "herself"),
    ("they", "themselves"),
    ("we", "ourselves"),
)
_HEAD = (
    ("{man1.sg}", "himself"),
    ("{woman1.sg}", "herself"),
    ("{person1.pl}", "themselves"),
)

# A reflexive agrees with the subject of its own clause (Principle A), not with other nouns.
REFLEXIVES = Phenomenon(
    name="reflexives",
    frames=(
        crossed("[x] {blame.past} [y]", *_PRONOUN),
        crossed("{np1} {say.past} that [x] {blame.past} [y]", *_PRONOUN),
        crossed("[x] {blame.past} [y]", *_ANTECEDENT),
        crossed("[x] {blame.past} [y] {where}", *_ANTECEDENT),
        crossed("did [x] {blame.base} [y]?", *_ANTECEDENT),
        crossed("{np1} {sneeze.past} because [x] had {blame.participle} [y]", *_ANTECEDENT),
        crossed("{name} {say.past} that [x] had {blame.participle} [y]", *_ANTECEDENT),
        crossed("{name} {persuade.past} [x] to {blame.base} [y]", *_ANTECEDENT),
        crossed("the [x] who {admire.past} {name} {blame.past} [y]", *_HEAD),
        crossed("the [x] that the {person2.pl} {admire.past} {blame.past} [y]", *_HEAD),
        crossed("{name}'s [x] {blame.past} [y]", *_HEAD),
    ),
)

# Without `it` and `you`, which have one form for both cases.
_PRONOUNS = (("he", "him"), ("she", "her"), ("they", "them"), ("we", "us"))
# For each, a text with a subject at `[y]`, and one with an object or the subject of an infinitive.
_CASE_POSITIONS = (
    (
        "{np1} {say.past} that [y] {admire.past} {np2}",
        "{np1} {say.past} that {np2} {admire.past} [y]",
    ),
    (
        "the {person.sg} that [y] {admire.past} {sneeze.past}",
        "the {person.sg} that {admire.past} [y] {sneeze.past}",
    ),
    (
        "{np1} {sneeze1.past} {where} because [y] {sneeze2.past}",
        "{np1} {sneeze1.past} {where} because of [y]",
    ),
    (
        "{np1} {think.past} [y] had {sneeze.participle} {where}",
        "{np1} {persuade.past} [y] to {sneeze.base} {where}",
    ),
    (
        "who did [y] {admire.base} {where}?",
        "who {admire.past} [y] {where}?",
    ),
    (
        "the {thing.sg} [y] {repair.past} {amuse.past} {np1}",
        "the {thing.sg} {np1} {repair.past} {amuse.past} [y]",
    ),
)


def _case(subject: str, other: str) -> tuple[Frame, ...]:
    return tuple(crossed("[x]", (subject, he), (other, him)) for he, him in _PRONOUNS)


# The subject of a finite clause is nominative; objects and subjects of infinitives are accusative.
PRONOUN_CASE = Phenomenon(
    name="pronoun_case",
    frames=tuple(frame for position in _CASE_POSITIONS for frame in _case(*position)),
)

_DETERMINERS = (
    (("this", "{thing.sg}"), ("these", "{thing.pl}")),
    (("that", "{thing.sg}"), ("those", "{thing.pl}")),
    (("every", "{thing.sg}"), ("many", "{thing.pl}")),
    (("each", "{thing.sg}"), ("several", "{thing.pl}")),
    (("another", "{thing.sg}"), ("two", "{thing.pl}")),
    (("too much", "{mass}"), ("too many", "{thing.pl}")),
)
_COUNTED = (
    "{np1} {repair.past} [x] [y] {where}",
    "[x] [y] {vanish.past} {where}",
    "did {np1} {repair.base} [x] {quality} [y]?",
    "{np1} {sneeze.past} because of [x] {quality1} and {quality2} [y]",
)

# A determiner fits the number of its noun, and whether the noun can be counted at all.
DETERMINERS = Phenomenon(
    name="determiners",
    frames=tuple(crossed(text, *matches) for text in _COUNTED for matches in _DETERMINERS),
)

_BEING = (("has", "been"), ("will", "be"), ("was", "being"))
_TRIPLE = (
    ("has", "{sneeze1.participle}"),
    ("will", "{sneeze1.base}"),
    ("was", "{sneeze1.ing}"),
)
_TRANSITIVE = (
    ("has", "{repair.participle}"),
    ("will", "{repair.base}"),
    ("was", "{repair.ing}"),
)

# An auxiliary selects the form of the next verb, however far away it stands.
VERB_FORMS = Phenomenon(
    name="verb_forms",
    frames=(
        crossed("{np1} [x] [y] very {polite}", *_BEING),
        crossed("{np1} [x] not [y] {polite}", *_BEING),
        crossed("[x] {np1} [y] {polite}?", *_BEING),
        crossed("the {person1.sg} who {sneeze.past} [x] [y] {polite}", *_BEING),
        crossed("{np1} [x] [y] {where}", *_TRIPLE),
        crossed("{np1} [x] [y] the {thing.sg}", *_TRANSITIVE),
        crossed("[x] {np1} [y] {where}?", *_TRIPLE),
        crossed("[x] the {person1.sg} near the {person2.sg} [y] {where}?", *_TRIPLE),
        crossed("why [x] the {person1.sg} that {np1} {admire.past} [y]?", *_TRIPLE),
        crossed("what [x] {np1} [y] {where}?", *_TRANSITIVE),
        crossed("the {thing.sg} that {np1} [x] never [y] {amuse.past} {np2}", *_TRANSITIVE),
        crossed(
            # Verbs like `steal`, because the past and the participle of regular verbs are equal.
            "[x] {where}",
            ("{np1} [y] the {thing.sg}", "{steal.past}"),
            ("the {thing.sg} was [y] by {np1}", "{steal.participle}"),
        ),
        crossed(
            "the {thing.sg} that {np1} [x] {amuse.past} {np2}",
            ("once [y]", "{steal.past}"),
            ("had [y]", "{steal.participle}"),
        ),
    ),
)
