"""The words of `cola-synthetic`: one lexicon for train, another for dev.

Open-class words (nouns, names, verbs, adjectives, manner adverbs) are disjoint between the two
splits in every inflected form, so that dev tests the rules and not the words. Closed-class words
(determiners, pronouns, auxiliaries, prepositions, particles, conjunctions, complementizers,
quantifiers, degree words, adverbs of time and polarity) are shared: they carry the rules.

A key is a word class that templates refer to; a class of verbs has the name of a typical member.
The labels depend on the classes: verbs like `admire` (of people) and `repair` (of things)
never drop their object, verbs like `sneeze` never take one, verbs like `say` take neither
`whether` nor a subjunctive and license no negative polarity item, verbs like `try` and `persuade`
never take the expletive `there`.
"""

from collections.abc import Mapping

from allocator.data.corpus.words import Word, adjectives, join, nouns, verbs

Lexicon = Mapping[str, tuple[Word, ...]]

_TRAIN_MALE = "John Bob Tom Peter David Frank George Henry Kevin Paul Steven Walter".split()
_TRAIN_FEMALE = "Mary Susan Anna Linda Karen Emily Alice Helen Julia Laura Nancy Sarah".split()

TRAIN: Lexicon = {
    "male": tuple(_TRAIN_MALE),
    "female": tuple(_TRAIN_FEMALE),
    "name": join(_TRAIN_MALE, _TRAIN_FEMALE),
    "man": nouns("uncle brother nephew husband"),
    "woman": nouns("aunt sister niece wife/wives"),
    "person": nouns(
        "teacher student doctor nurse lawyer farmer baker pilot singer writer painter driver "
        "sailor soldier tailor plumber dentist banker barber butcher cashier clerk dancer editor "
        "engineer florist gardener hunter janitor librarian mechanic miner neighbor officer "
        "tourist tenant"
    ),
    "thing": nouns(
        "lamp chair guitar bicycle basket mirror ladder blanket bottle camera candle carpet desk "
        "drum fence hammer jacket kettle kite necklace oven pillow radio ring scooter table "
        "toaster toy umbrella wagon window whistle wallet"
    ),
    "place": nouns(
        "museum garden library station kitchen bakery harbor castle church market theater hotel "
        "school park"
    ),
    "mass": tuple("furniture luggage equipment jewelry".split()),
    "report": nouns("rumor story article letter poem report"),
    "idea": nouns("claim allegation rumor report"),
    "period": tuple("week month Monday Thursday spring".split()),
    "sneeze": verbs(
        "laugh sneeze sleep/slept cough yawn giggle tremble snore grin/grinned faint blush shiver"
    ),
    "admire": verbs("admire thank blame avoid envy insult betray rescue flatter befriend"),
    "repair": verbs("repair damage inspect discover fetch discard retrieve demolish"),
    "spot": verbs("photograph find/found discover"),
    "blame": verbs("admire blame insult betray flatter injure describe"),
    "steal": verbs("steal/stole/stolen take/took/taken draw/drew/drawn throw/threw/thrown"),
    "break": verbs("break/broke/broken crack shatter move burn tilt"),
    "vanish": verbs("vanish fall/fell/fallen gleam"),
    "give": verbs("give/gave/given lend/lent hand sell/sold"),
    "donate": verbs("donate describe reveal"),
    "up": verbs("pick clean hang/hung"),
    "amuse": verbs("amuse annoy frighten surprise"),
    "say": verbs("claim think/thought believe conclude boast"),
    "think": verbs("think/thought believe claim"),
    "know": verbs("know/knew/known remember forget/forgot/forgotten"),
    "inquire": verbs("inquire debate ponder"),
    "arrange": verbs("arrange long"),
    "enjoy": verbs("enjoy avoid consider"),
    "decide": verbs("decide hope refuse manage"),
    "try": verbs("try refuse"),
    "raise": verbs("seem happen"),
    "seem": verbs("seem happen"),
    "persuade": verbs("persuade tell/told remind"),
    "expect": verbs("expect believe require"),
    "easy": tuple("easy hard difficult".split()),
    "eager": tuple("eager willing reluctant".split()),
    "unclear": tuple("unclear doubtful".split()),
    "adj": adjectives("tall old young strong rich poor thin/thinn kind"),
    "long": tuple("careful generous talented ambitious intelligent".split()),
    "polite": tuple("careful generous polite rude silly".split()),
    "quality": tuple("heavy cheap dusty small expensive dirty".split()),
    "adverb": tuple("carefully quickly quietly secretly slowly eagerly".split()),
}

_DEV_MALE = "Michael James Robert William Daniel Andrew Philip Martin".split()
_DEV_FEMALE = "Jessica Barbara Margaret Rebecca Patricia Diana Victoria Elizabeth".split()

# The same keys as in TRAIN, with fewer words for an eighth as many sentences.
DEV: Lexicon = {
    "male": tuple(_DEV_MALE),
    "female": tuple(_DEV_FEMALE),
    "name": join(_DEV_MALE, _DEV_FEMALE),
    "man": nouns("father grandfather son"),
    "woman": nouns("mother grandmother daughter"),
    "person": nouns(
        "scientist artist chef architect carpenter journalist surgeon pianist violinist poet "
        "politician senator manager secretary detective professor colleague accountant athlete "
        "musician translator visitor"
    ),
    "thing": nouns(
        "violin piano vase statue suitcase bracelet cupboard telescope typewriter teapot sofa "
        "wardrobe bucket wheelbarrow helmet trumpet lantern sculpture shelf/shelves sword"
    ),
    "place": nouns("airport cathedral stadium village restaurant forest warehouse factory"),
    "mass": tuple("machinery cutlery pottery".split()),
    "report": nouns("documentary essay biography novel anecdote"),
    "idea": nouns("suggestion assertion accusation"),
    "period": tuple("year summer Friday Tuesday".split()),
    "sneeze": verbs("chuckle hesitate sigh sob/sobbed frown weep/wept doze stumble gasp"),
    "admire": verbs("praise greet respect adore despise congratulate escort ridicule"),
    "repair": verbs("fix examine obtain remove locate acquire restore"),
    "spot": verbs("film locate recognize"),
    "blame": verbs("praise respect adore despise ridicule defend"),
    "steal": verbs("choose/chose/chosen shake/shook/shaken wear/wore/worn"),
    "break": verbs("snap/snapped roll spin/spun topple rotate"),
    "vanish": verbs("disappear emerge glitter"),
    "give": verbs("send/sent show/showed/shown offer"),
    "donate": verbs("mention explain display"),
    "up": verbs("fold wrap/wrapped"),
    "amuse": verbs("delight irritate bother shock"),
    "say": verbs("assume suspect assert reply maintain"),
    "think": verbs("assume suspect"),
    "know": verbs("learn notice recall"),
    "inquire": verbs("investigate discuss"),
    "arrange": verbs("wait plead"),
    "enjoy": verbs("deny resist risk"),
    "decide": verbs("agree want pretend"),
    "try": verbs("attempt struggle decline"),
    "raise": verbs("appear tend continue"),
    "seem": verbs("appear"),
    "persuade": verbs("convince invite teach/taught"),
    "expect": verbs("assume imagine"),
    "easy": tuple("tough simple impossible".split()),
    "eager": tuple("anxious determined hesitant".split()),
    "unclear": tuple("uncertain unknown".split()),
    "adj": adjectives("short smart brave weak calm wise"),
    "long": tuple("patient creative popular confident arrogant".split()),
    "polite": tuple("patient arrogant stubborn helpful cruel".split()),
    "quality": tuple("bulky fragile ancient tiny".split()),
    "adverb": tuple("cautiously promptly hastily gently skillfully".split()),
}
