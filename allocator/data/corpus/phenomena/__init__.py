"""The phenomena of `cola-synthetic`.

The list follows the fields of BLiMP (Warstadt et al. 2020, TACL 8) and of CoLA's own analysis set
(Warstadt and Bowman 2019); frames and words were written for this corpus.
"""

from allocator.data.corpus.phenomena.dependencies import (
    ELLIPSIS,
    EXISTENTIALS,
    FILLER_GAPS,
    ISLANDS,
    NEGATIVE_POLARITY,
)
from allocator.data.corpus.phenomena.forms import (
    AGREEMENT,
    DETERMINERS,
    PRONOUN_CASE,
    REFLEXIVES,
    VERB_FORMS,
)
from allocator.data.corpus.phenomena.meaning import COMPARATIVES, TENSE
from allocator.data.corpus.phenomena.structure import (
    ARGUMENT_STRUCTURE,
    COMPLEMENTIZERS,
    RAISING_CONTROL,
    WORD_ORDER,
)

PHENOMENA = (
    AGREEMENT,
    REFLEXIVES,
    PRONOUN_CASE,
    DETERMINERS,
    VERB_FORMS,
    ARGUMENT_STRUCTURE,
    RAISING_CONTROL,
    COMPLEMENTIZERS,
    WORD_ORDER,
    ISLANDS,
    FILLER_GAPS,
    NEGATIVE_POLARITY,
    EXISTENTIALS,
    ELLIPSIS,
    TENSE,
    COMPARATIVES,
)
