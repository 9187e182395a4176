"""The vectorised evaluation against a plain reading of each program, thing by thing."""

from __future__ import annotations

from collections import Counter, defaultdict

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgevqa.data import scene_questions as questions
from edgevqa.data.scene_questions import ANSWERS, ATTRIBUTES, FAMILIES, Description, Program
from edgevqa.data.scenes import sample_scenes, scenes_vocabulary
from edgevqa.data.text import tokenise


def things_of(table: questions.Table, scene: int) -> list[dict[str, int]]:
    names = ("size", "colour", "shape", "x", "y")
    return [
        {name: int(getattr(table, name)[scene, place]) for name in names}
        for place in range(questions.MAXIMUM_THINGS)
        if table.valid[scene, place]
    ]


def fits(thing: dict[str, int], description: Description) -> bool:
    return all(getattr(description, name) in (None, thing[name]) for name in ATTRIBUTES)


def naive_answer(program: Program, things: list[dict[str, int]]) -> str | None:
    targets = [thing for thing in things if fits(thing, program.target)]
    if program.other is not None:
        others = [thing for thing in things if fits(thing, program.other)]
        if program.family == "compare-number":
            difference = len(targets) - len(others)
            truth = {"more": difference > 0, "fewer": difference < 0, "same": difference == 0}
            return "yes" if truth[program.comparison] else "no"
        if len(others) != 1:
            return None
        anchor = others[0]
        if program.family == "compare-attribute":
            if len(targets) != 1 or targets[0] is anchor:
                return None
            return "yes" if targets[0][program.attribute] == anchor[program.attribute] else "no"
        directions = {"left": ("x", -1), "right": ("x", 1), "above": ("y", -1), "below": ("y", 1)}
        axis, sign = directions[program.relation]
        targets = [thing for thing in targets if thing is not anchor]
        if any(abs(thing[axis] - anchor[axis]) < questions.CLEAR_GAP for thing in targets):
            return None
        targets = [thing for thing in targets if sign * (thing[axis] - anchor[axis]) > 0]
    if program.family.endswith("exist"):
        return "yes" if targets else "no"
    if program.family.endswith("count"):
        return str(len(targets))
    if len(targets) != 1:
        return None
    return ATTRIBUTES[program.attribute][targets[0][program.attribute]]


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 2**32 - 1), st.sampled_from(FAMILIES))
def test_evaluate_agrees_with_a_plain_reading(seed: int, family: str) -> None:
    random = np.random.default_rng(seed)
    table = sample_scenes(25, random).table
    for _ in range(6):
        program = questions.draw_program(family, random)
        answers = questions.evaluate(program, table)
        for scene in range(len(table)):
            expected = naive_answer(program, things_of(table, scene))
            found = None if answers[scene] < 0 else ANSWERS[answers[scene]]
            assert found == expected, (program, things_of(table, scene))


@given(st.integers(0, 2**32 - 1), st.sampled_from(FAMILIES))
def test_every_wording_is_short_lower_case_and_known(seed: int, family: str) -> None:
    program = questions.draw_program(family, np.random.default_rng(seed))
    vocabulary = scenes_vocabulary()
    for template in questions.templates(program):
        text = questions.sentence(program, template)
        assert text == text.lower() and text.endswith("?") and "{" not in text and "  " not in text
        assert 0 < len(tokenise(text)) <= questions.QUESTION_LENGTH
        encoded = vocabulary.encode(text, questions.QUESTION_LENGTH)
        assert encoded.unknown == () and not encoded.cut


@given(st.integers(0, 2**32 - 1), st.sampled_from(("query", "one-hop-query", "compare-attribute")))
def test_a_question_never_names_what_it_asks_for(seed: int, family: str) -> None:
    program = questions.draw_program(family, np.random.default_rng(seed))
    assert getattr(program.target, program.attribute) is None
    if family == "compare-attribute":
        assert getattr(program.other, program.attribute) is None


def test_the_vocabulary_has_no_word_without_use() -> None:
    random = np.random.default_rng(0)
    used = {
        word
        for family in FAMILIES
        for _ in range(300)
        for program in [questions.draw_program(family, random)]
        for template in questions.templates(program)
        for word in tokenise(questions.sentence(program, template))
    }
    assert used == set(scenes_vocabulary().words[3:])


@pytest.fixture(scope="module")
def planned() -> list[questions.Planned]:
    random = np.random.default_rng(7)
    return questions.plan_questions(sample_scenes(300, random).table, 16, random)


def test_families_have_equal_shares_and_scenes_about_sixteen_questions(planned) -> None:
    assert len(planned) == 300 * 16
    assert set(Counter(family for _, family, *_ in planned).values()) == {600}
    loads = np.bincount([scene for scene, *_ in planned], minlength=300)
    assert loads.min() >= 4 and loads.max() <= 22
    assert np.mean((loads >= 12) & (loads <= 20)) > 0.95


def test_the_answers_of_each_string_are_uniform(planned) -> None:
    answers: dict[str, Counter[int]] = defaultdict(Counter)
    for _, _, text, answer, *_ in planned:
        answers[text][answer] += 1
    assert len(answers) > 500
    for text, counts in answers.items():
        assert len(counts) >= 2, text
        assert len(set(counts.values())) == 1, (text, counts)


def test_no_string_is_asked_twice_of_a_scene(planned) -> None:
    assert len({(scene, text) for scene, _, text, *_ in planned}) == len(planned)


def test_every_answer_occurs(planned) -> None:
    assert {question.answer for question in planned} == set(range(len(ANSWERS)))


def test_a_few_scenes_give_questions_or_none_but_always_end() -> None:
    random = np.random.default_rng(1)
    planned = questions.plan_questions(sample_scenes(2, random).table, 16, random)
    assert len(planned) <= 32
