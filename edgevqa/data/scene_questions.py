"""Questions about scenes: families, programs, sentences, and the scenes that each is asked about.

After CLEVR (Johnson et al. 2017, arXiv:1612.06890, section 3): questions are small programs over the scene,
and a question is only asked where the thing it names is unique. Where CLEVR balances the answers of a family
by rejection, here every question *string* gets scenes whose answers are uniform, so that the words alone say
next to nothing.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

SHAPES = ("circle", "square", "triangle")
COLOURS = ("red", "green", "blue", "yellow", "purple", "grey")
SIZES = ("small", "big")
ATTRIBUTES: dict[str, tuple[str, ...]] = {"size": SIZES, "colour": COLOURS, "shape": SHAPES}
MAXIMUM_THINGS = 8
NUMBERS = tuple(str(number) for number in range(MAXIMUM_THINGS + 1))
ANSWERS = ("yes", "no", *NUMBERS, *SHAPES, *COLOURS, *SIZES)
FAMILIES = (
    "exist", "count", "query", "compare-number", "compare-attribute",
    "one-hop-exist", "one-hop-count", "one-hop-query",
)  # fmt: skip
RELATIONS = ("left", "right", "above", "below")
COMPARISONS = ("more", "fewer", "same")
CLEAR_GAP = 8
"""Pixels: nothing that a relation could select lies nearer to its anchor than this on the relation's axis."""

QUESTION_LENGTH = 14
YES, NO, FIRST_NUMBER = 0, 1, 2


@dataclass(frozen=True, eq=False)
class Table:
    """Scenes as arrays, n scenes by 8 places.

    Attributes:
        size, colour, shape: int8 (n, 8), places in SIZES, COLOURS, SHAPES.
        x, y: int16 (n, 8), centres in pixels, y downwards.
        valid: bool (n, 8), whether there is a thing at that place.
    """

    size: np.ndarray
    colour: np.ndarray
    shape: np.ndarray
    x: np.ndarray
    y: np.ndarray
    valid: np.ndarray

    def __len__(self) -> int:
        return len(self.valid)


@dataclass(frozen=True)
class Description:
    """What a thing must be like; None leaves an attribute open."""

    size: int | None = None
    colour: int | None = None
    shape: int | None = None

    def words(self, plural: bool = False) -> str:
        """The description in words: "big red circle", "small things"."""
        noun = "thing" if self.shape is None else SHAPES[self.shape]
        parts = [
            "" if self.size is None else SIZES[self.size],
            "" if self.colour is None else COLOURS[self.colour],
            noun + ("s" if plural else ""),
        ]
        return " ".join(part for part in parts if part)

    def mask(self, table: Table) -> np.ndarray:
        """Which things fit: bool (n, 8)."""
        mask = table.valid
        for name in ATTRIBUTES:
            wanted = getattr(self, name)
            if wanted is not None:
                mask = mask & (getattr(table, name) == wanted)
        return mask


@dataclass(frozen=True)
class Program:
    """A question without its wording.

    Attributes:
        family: one of FAMILIES.
        target: what is counted, sought or queried; the first side of a comparison.
        other: the second side of a comparison, or the anchor of a relation.
        attribute: what is queried or compared ("size", "colour", "shape").
        relation: one of RELATIONS, how the target lies to `other`.
        comparison: one of COMPARISONS.
    """

    family: str
    target: Description
    other: Description | None = None
    attribute: str | None = None
    relation: str | None = None
    comparison: str | None = None


def evaluate(program: Program, table: Table) -> np.ndarray:
    """The answer in every scene: int64 (n,), a place in ANSWERS, or -1 where the question makes no sense.

    It makes no sense where a queried or anchor thing is missing or not unique, where both sides of an
    attribute comparison are one thing, and where a thing that the relation could select is not clearly on one
    side of the anchor.
    """
    target = program.target.mask(table)
    asked = np.ones(len(table), bool)
    if program.other is not None:
        other = program.other.mask(table)
        if program.family == "compare-number":
            ours, theirs = target.sum(axis=1), other.sum(axis=1)
            compare = {"more": np.greater, "fewer": np.less, "same": np.equal}[program.comparison or ""]
            return np.where(compare(ours, theirs), YES, NO)
        asked = other.sum(axis=1) == 1
        anchor = other.argmax(axis=1)
        if program.family == "compare-attribute":
            thing = target.argmax(axis=1)
            asked &= (target.sum(axis=1) == 1) & (thing != anchor)
            values, rows = getattr(table, program.attribute or ""), np.arange(len(table))
            return np.where(asked, np.where(values[rows, thing] == values[rows, anchor], YES, NO), -1)
        places = table.x if program.relation in ("left", "right") else table.y
        offset = places - places[np.arange(len(table)), anchor][:, None]
        if program.relation in ("left", "above"):
            offset = -offset
        target = target & ~other
        asked &= ~(target & (np.abs(offset) < CLEAR_GAP)).any(axis=1)
        target &= offset > 0
    count = target.sum(axis=1)
    if program.family.endswith("exist"):
        answer = np.where(count > 0, YES, NO)
    elif program.family.endswith("count"):
        answer = FIRST_NUMBER + count
    else:
        attribute = program.attribute or ""
        asked &= count == 1
        values = getattr(table, attribute)[np.arange(len(table)), target.argmax(axis=1)]
        answer = ANSWERS.index(ATTRIBUTES[attribute][0]) + values.astype(np.int64)
    return np.where(asked, answer, -1)


_SIDES = {"left": "left of", "right": "right of", "above": "above", "below": "below"}
_LONG_SIDES = {"left": "to the left of", "right": "to the right of", "above": "above", "below": "below"}

TEMPLATES: dict[str, tuple[str, ...]] = {
    "exist": ("is there a {one}?", "can you see a {one}?", "does the picture show a {one}?"),
    "count": (
        "how many {many} are there?",
        "what is the number of {many}?",
        "how many {many} does the picture show?",
    ),
    "query": ("what {attribute} is the {one}?", "what is the {attribute} of the {one}?"),
    "more": ("are there more {many} than {others}?", "does the picture show more {many} than {others}?"),
    "fewer": ("are there fewer {many} than {others}?", "does the picture show fewer {many} than {others}?"),
    "same": (
        "are there equally many {many} and {others}?",
        "is there the same number of {many} and {others}?",
    ),
    "compare-attribute": (
        "is the {one} the same {attribute} as the {other}?",
        "do the {one} and the {other} have the same {attribute}?",
    ),
    "one-hop-exist": (
        "is there a {one} {side} the {other}?",
        "is there a {one} {long_side} the {other}?",
        "is a {one} {side} the {other}?",
    ),
    "one-hop-count": (
        "how many {many} are {side} the {other}?",
        "how many {many} are {long_side} the {other}?",
    ),
    "one-hop-query": (
        "what {attribute} is the {one} {side} the {other}?",
        "the {one} {side} the {other} has what {attribute}?",
    ),
}


def templates(program: Program) -> tuple[str, ...]:
    """The wordings that a program can have."""
    return TEMPLATES[program.comparison or program.family]


def sentence(program: Program, template: str) -> str:
    """A program in words: lower case, at most 14 tokens."""
    other = program.other or Description()
    return template.format(
        one=program.target.words(),
        many=program.target.words(plural=True),
        other=other.words(),
        others=other.words(plural=True),
        attribute=program.attribute,
        side=_SIDES.get(program.relation or ""),
        long_side=_LONG_SIDES.get(program.relation or ""),
    )


def all_words() -> list[str]:
    """Sentences that together hold every word a question can have."""
    sentences = [*SIZES, *COLOURS, *SHAPES, *ATTRIBUTES, *_LONG_SIDES.values(), "thing", "things"]
    sentences += [shape + "s" for shape in SHAPES]
    for wordings in TEMPLATES.values():
        for wording in wordings:
            sentences.append(wording.format_map(_Blank()))
    return sentences


class _Blank(dict[str, str]):
    def __missing__(self, key: str) -> str:
        return ""


def draw_program(family: str, random: np.random.Generator) -> Program:
    """A program of a family, at random; whether scenes fit it is for `evaluate` to say."""
    if family == "exist":
        return Program(family, _draw(random, (0, 0.35, 0.45, 0.2)))
    if family == "count":
        return Program(family, _draw(random, (0.05, 0.5, 0.35, 0.1)))
    if family == "compare-number":
        comparison = COMPARISONS[random.integers(3)]
        return Program(family, _draw(random, (0, 0.6, 0.4)), _draw(random, (0, 0.6, 0.4)), comparison=comparison)
    if family in ("query", "compare-attribute", "one-hop-query"):
        attribute = tuple(ATTRIBUTES)[random.integers(3)]
        if family == "query":
            return Program(family, _draw(random, (0, 0.5, 0.5), attribute), attribute=attribute)
        if family == "compare-attribute":
            sides = [_draw(random, (0, 0.45, 0.55), attribute) for _ in range(2)]
            return Program(family, sides[0], sides[1], attribute=attribute)
        target = _draw(random, (0.3, 0.5, 0.2), attribute)
    else:
        attribute, target = None, _draw(random, (0.25, 0.55, 0.2))
    relation = RELATIONS[random.integers(4)]
    return Program(family, target, _draw(random, (0, 0.35, 0.5, 0.15)), attribute, relation)


def _draw(random: np.random.Generator, chances: tuple[float, ...], without: str | None = None) -> Description:
    """A description that fixes k attributes with probability chances[k], never the attribute `without`."""
    free = [name for name in ATTRIBUTES if name != without]
    fixed = int(random.choice(len(chances), p=chances))
    names = random.permutation(len(free))[:fixed]
    return Description(**{free[name]: int(random.integers(len(ATTRIBUTES[free[name]]))) for name in names})


class Planned(NamedTuple):
    """A question about one scene of a block.

    Attributes:
        scene: the scene's number.
        family: one of FAMILIES.
        text: the sentence.
        answer: a place in ANSWERS.
        target: which things fit the first description, a bit for each place.
        other: which things fit the second description, likewise; 0 where there is none.
        related: which things stand to the second description's thing as the question asks: on the asked side of it,
            or equal to it in the compared attribute, itself included; 0 where nothing of the kind is asked.
    """

    scene: int
    family: str
    text: str
    answer: int
    target: int
    other: int
    related: int


def related(program: Program, table: Table) -> np.ndarray:
    """Which things stand to the second description's thing as a program asks: bool (n, 8), see `Planned`."""
    if program.other is None or program.family == "compare-number":
        return np.zeros_like(table.valid)
    anchor = program.other.mask(table).argmax(axis=1)
    rows = np.arange(len(table))
    if program.attribute is not None and program.relation is None:
        values = getattr(table, program.attribute)
        return np.asarray(table.valid & (values == values[rows, anchor][:, None]))
    places = table.x if program.relation in ("left", "right") else table.y
    offset = places - places[rows, anchor][:, None]
    return np.asarray(table.valid & ((offset < 0) if program.relation in ("left", "above") else (offset > 0)))


def _bits(mask: np.ndarray) -> np.ndarray:
    """Rows of a mask (n, 8) as numbers (n,)."""
    return np.asarray(mask @ (1 << np.arange(mask.shape[1])))


def plan_questions(table: Table, per_scene: int, random: np.random.Generator) -> list[Planned]:
    """Questions about a block of scenes, sorted by scene.

    Families have equal shares. A drawn sentence is asked of one or two scenes for each answer that is
    feasible, so its answers are uniform; among the scenes with an answer those with the fewest questions are
    taken. The same program is never asked twice of a scene. A handful of scenes may get fewer questions than
    asked for.
    """
    total = len(table) * per_scene
    load = np.zeros(len(table), np.int64)
    used: dict[Program, set[int]] = {}
    answers_of: dict[Program, np.ndarray] = {}
    questions: list[Planned] = []
    for number, family in enumerate(FAMILIES):
        wanted = total * (number + 1) // len(FAMILIES) - len(questions)
        made = fruitless = 0
        while made < wanted and fruitless < 2000:
            program = draw_program(family, random)
            if program not in answers_of:
                answers_of[program] = evaluate(program, table)
                used[program] = set()
            answers = answers_of[program]
            feasible = feasible_answers(program, answers)
            chosen = _choose(feasible, answers, used[program], load, wanted - made, random)
            if not chosen:
                fruitless += 1
                continue
            fruitless = 0
            wordings = templates(program)
            text = sentence(program, wordings[random.integers(len(wordings))])
            target = _bits(program.target.mask(table)[chosen])
            other = np.zeros_like(target) if program.other is None else _bits(program.other.mask(table)[chosen])
            held = _bits(related(program, table)[chosen])
            for scene, *bits in zip(chosen, target.tolist(), other.tolist(), held.tolist(), strict=True):
                questions.append(Planned(scene, family, text, int(answers[scene]), *bits))
                used[program].add(scene)
                load[scene] += 1
            made += len(chosen)
    return sorted(questions)


def feasible_answers(program: Program, answers: np.ndarray) -> list[int]:
    """The answers between which a program's scenes can be balanced; empty when the program asks nothing here.

    A query must be able to get every value of its attribute, a yes/no question both answers; of counts those
    remain that at least one in 25 of the scenes gives.
    """
    frequency = np.bincount(answers[answers >= 0], minlength=len(ANSWERS))
    if program.family.endswith("count"):
        feasible = np.flatnonzero(frequency >= max(2.0, 0.04 * frequency.sum())).tolist()
        return feasible if len(feasible) >= 2 else []
    if program.family.endswith("query"):
        values = ATTRIBUTES[program.attribute or ""]
        needed = [ANSWERS.index(value) for value in values]
    else:
        needed = [YES, NO]
    return needed if all(frequency[answer] >= 1 for answer in needed) else []


def _choose(
    feasible: list[int],
    answers: np.ndarray,
    used: set[int],
    load: np.ndarray,
    room: int,
    random: np.random.Generator,
) -> list[int]:
    """As many scenes (one, or two for short lists of answers) for each feasible answer, or none at all."""
    if not feasible:
        return []
    each = int(random.integers(1, 3)) if len(feasible) <= 3 else 1
    open_scenes: list[np.ndarray] = []
    for answer in feasible:
        scenes = np.flatnonzero(answers == answer)
        if used:
            scenes = scenes[[scene not in used for scene in scenes.tolist()]]
        open_scenes.append(scenes)
        each = min(each, len(scenes))
    if len(feasible) * each > room:
        each = room // len(feasible)
    if room - len(feasible) * each == 1:  # one question alone could not be balanced
        return []
    chosen: list[int] = []
    for scenes in open_scenes:
        order = np.argsort(load[scenes] + random.random(len(scenes)), kind="stable")
        chosen += scenes[order[:each]].tolist()
    return chosen
