"""Training: it learns, resumes to the exact weights, and follows the sandwich rule."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgevqa.data.text import question_mask, region_mask
from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import MCANConfig, RegionInput
from edgevqa.models.initialisation import initialise
from edgevqa.models.mcan import MCAN
from edgevqa.slimming.grid import MCAN_BST, grid
from edgevqa.slimming.slicer import slice_model
from edgevqa.training.batches import to_tensors, trim
from edgevqa.training.evaluation import predict
from edgevqa.training.loop import Milestones, train
from edgevqa.training.losses import answer_loss, teacher_loss
from edgevqa.training.recipe import Recipe
from edgevqa.training.stages import OnAnswers, SelfDistillation, copy_weights

CONFIG = MCANConfig.uniform(
    hidden=16,
    heads=8,
    layers=6,
    image=RegionInput(3, 4),
    vocabulary_size=9,
    answer_count=4,
    question_length=4,
    word_size=8,
    lstm_size=16,
    dropout=0.1,
)


class Toy:
    """Questions about the feature that one of the regions has more of than all others."""

    def __init__(self, count: int = 256) -> None:
        generator = np.random.default_rng(0)
        self.tokens = generator.integers(3, 6, (count, 4)).astype(np.int32)
        self.regions = generator.normal(size=(count, 3, 4)).astype(np.float32) / 2
        self.answers = generator.integers(0, 4, count)
        self.special = generator.integers(0, 3, count)
        self.regions[np.arange(count), self.special, self.answers] += 3

    def __len__(self) -> int:
        return len(self.answers)

    def model_inputs(self, indices: np.ndarray) -> dict[str, np.ndarray]:
        rows = len(indices)
        return {
            "question": self.tokens[indices],
            "question_mask": np.zeros((rows, 1, 1, 4), np.float32),
            "regions": self.regions[indices],
            "region_mask": np.zeros((rows, 1, 1, 3), np.float32),
        }


def model(seed: int = 0) -> MCAN:
    made = MCAN(CONFIG)
    initialise(made, seed)
    return made


def stage(recipe: Recipe, kind: str) -> OnAnswers | SelfDistillation:
    if kind == "answers":
        return OnAnswers(model(), recipe)
    student = model(1)
    copy_weights(model(1).state_dict(), student)
    return SelfDistillation(student, model(1), grid(CONFIG, MCAN_BST), recipe, len(Toy()))


@pytest.mark.parametrize("kind", ["answers", "distillation"])
def test_a_stopped_run_ends_with_the_same_weights(tmp_path: Path, kind: str) -> None:
    recipe = Recipe(steps=9, batch=16, warmup=2, seed=4)
    whole = train(stage(recipe, kind), recipe, Toy(), tmp_path / "whole", name="run")

    class Stop(Exception):
        pass

    def stop_after(step: int) -> str:
        raise Stop

    milestones = Milestones(save=2, evaluate=5)
    with pytest.raises(Stop):
        train(
            stage(recipe, kind), recipe, Toy(), tmp_path / "parts", name="run",
            milestones=milestones, evaluate=stop_after,
        )  # fmt: skip
    resumed = train(stage(recipe, kind), recipe, Toy(), tmp_path / "parts", name="run")
    assert whole.keys() == resumed.keys()
    for name, value in whole.items():
        assert torch.equal(value, resumed[name]), name


def test_other_settings_and_broken_states_are_refused(tmp_path: Path) -> None:
    recipe = Recipe(steps=2, batch=16)
    train(stage(recipe, "answers"), recipe, Toy(), tmp_path, name="run")
    other = Recipe(steps=3, batch=16)
    with pytest.raises(UsageError, match="other settings"):
        train(stage(other, "answers"), other, Toy(), tmp_path, name="run")
    state = tmp_path / "run.state.pt"
    whole = state.read_bytes()
    torch.save({"step": 1, "model": {}}, state)
    with pytest.raises(InputError, match=r"run\.state\.pt is no training state: it lacks extra, identity, optimizers"):
        train(stage(recipe, "answers"), recipe, Toy(), tmp_path, name="run")
    state.write_bytes(whole)
    state.write_bytes(state.read_bytes()[:500])
    with pytest.raises(InputError, match=r"run\.state\.pt"):
        train(stage(recipe, "answers"), recipe, Toy(), tmp_path, name="run")


def test_a_recipe_that_cannot_be_run_is_refused() -> None:
    for wrong in ({"seed": -1}, {"batch": 0}, {"submodels": 1}):
        with pytest.raises(UsageError):
            Recipe(**{"steps": 2, **wrong})


@pytest.mark.slow
def test_teacher_and_submodels_learn(tmp_path: Path) -> None:
    data = Toy(1024)
    recipe = Recipe(steps=200, batch=64, warmup=20, learning_rate=3e-3)
    teacher = model()
    copy_weights(train(OnAnswers(teacher, recipe), recipe, data, tmp_path, name="teacher"), teacher)
    taught = float((predict(teacher, data).argmax(1) == data.answers).mean())
    assert taught > 0.9
    plans = grid(CONFIG, MCAN_BST)
    small_before = slice_model(teacher, plans[0])
    student = model(1)
    copy_weights(teacher.state_dict(), student)
    recipe = Recipe(steps=150, batch=64, warmup=20, learning_rate=3e-3)
    distillation = SelfDistillation(student, teacher, plans, recipe, len(data))
    copy_weights(train(distillation, recipe, data, tmp_path, name="student"), student)
    agree = lambda net: float((predict(net, data).argmax(1) == predict(teacher, data).argmax(1)).mean())  # noqa: E731
    assert agree(slice_model(student, plans[0])) > agree(small_before) + 0.1


def test_the_sandwich_rule() -> None:
    recipe = Recipe(steps=10, submodels=5, seed=1)
    distillation = stage(recipe, "distillation")
    assert isinstance(distillation, SelfDistillation)
    drawn = [distillation.chosen(step) for step in range(200)]
    for places in drawn:
        assert places[0] == 0
        assert places[-1] == 9
        assert len(set(places)) == 5
    assert {place for places in drawn for place in places} == set(range(10))
    assert drawn == [distillation.chosen(step) for step in range(200)]


def test_attention_in_training_equals_evaluation() -> None:
    """The faster form of attention used in training gives the same answers and gradients."""
    torch.manual_seed(0)
    data = Toy(8)
    net = MCAN(MCANConfig.from_dict({**CONFIG.to_dict(), "dropout": 0.0}))
    inputs = tuple(torch.from_numpy(value) for value in data.model_inputs(np.arange(8)).values())
    inputs[1][:, ..., 2:] = -1e4
    torch.testing.assert_close(net.train()(*inputs), net.eval()(*inputs), rtol=1e-5, atol=1e-6)


def test_losses_have_their_least_value_where_they_should() -> None:
    teacher = torch.randn(5, 4)
    kl = teacher_loss(teacher.clone(), teacher, "softmax")
    assert abs(float(kl)) < 1e-6
    assert float(teacher_loss(teacher + torch.randn(5, 4), teacher, "softmax")) > 0.01
    exact = float(teacher_loss(teacher.clone(), teacher, "sigmoid"))
    assert float(teacher_loss(teacher + 0.3, teacher, "sigmoid")) > exact
    sure = torch.full((2, 4), -20.0)
    sure[0, 1] = sure[1, 3] = 20.0
    for kind in ("softmax", "sigmoid"):
        assert float(answer_loss(sure, torch.tensor([1, 3]), kind)) < 1e-6


def test_grounding_is_learned_and_thrown_away(tmp_path: Path) -> None:
    """The second loss trains its readers and the model beneath them, and leaves no trace in the weights' names."""
    data = Toy(64)
    grounding = np.zeros((64, 3), np.uint8)
    grounding[np.arange(64), data.special] = 7
    recipe = Recipe(steps=40, batch=32, warmup=5, learning_rate=3e-3, grounding=1.0)
    told = OnAnswers(model(), recipe, grounding)
    indices = np.arange(64)
    inputs = tuple(torch.from_numpy(value) for value in data.model_inputs(indices).values())
    answers = torch.from_numpy(data.answers)
    told.model(*inputs)
    assert told._grounding is not None
    before = float(told._grounding.loss(0, indices).detach())
    weights = train(told, recipe, data, tmp_path, name="run")
    told.model.eval()(*inputs)
    assert float(told._grounding.loss(0, indices).detach()) < before - 0.1
    assert weights.keys() == MCAN(CONFIG).state_dict().keys()
    student = SelfDistillation(model(1), model(1), grid(CONFIG, MCAN_BST), recipe, 64, grounding)
    assert len(student.extra["grounding"]) == 10
    student.backward(0, indices, inputs, answers)
    for place in student.chosen(0):
        assert all(weight.grad is not None for weight in student.extra["grounding"][place].parameters())


def test_soft_targets_weigh_every_answer() -> None:
    logits, answers = torch.randn(3, 4, generator=torch.Generator().manual_seed(1)), torch.tensor([2, 0, 3])
    hard = torch.nn.functional.one_hot(answers, 4).float()
    for kind in ("softmax", "sigmoid"):
        assert answer_loss(logits, hard, kind).item() == pytest.approx(answer_loss(logits, answers, kind).item())
    soft = torch.tensor([[0.0, 0.3, 1.0, 0.0], [0.6, 0.6, 0.0, 0.0], [0.0, 0.0, 0.0, 0.9]])
    by_hand = -(soft * logits.sigmoid().log() + (1 - soft) * (1 - logits.sigmoid()).log()).sum() / 3
    assert answer_loss(logits, soft, "sigmoid").item() == pytest.approx(by_hand.item(), rel=1e-5)
    shares = soft / soft.sum(1, keepdim=True)
    by_hand = -(shares * logits.log_softmax(1)).sum() / 3
    assert answer_loss(logits, soft, "softmax").item() == pytest.approx(by_hand.item(), rel=1e-5)


def test_columns_that_all_questions_hide_are_left_out_and_change_nothing() -> None:
    config = replace(CONFIG, image=RegionInput(5, 4, box_size=2), question_length=6, dropout=0.0)
    padded = MCAN(config).eval()
    generator = np.random.default_rng(1)
    tokens = generator.integers(3, 9, (3, 6)).astype(np.int32)
    tokens[:, 4:] = 0
    counts = np.array([2, 3, 1])
    inputs = {
        "question": tokens,
        "question_mask": question_mask(tokens),
        "regions": generator.normal(size=(3, 5, 4)).astype(np.float32),
        "region_mask": region_mask(counts, 5),
        "boxes": generator.normal(size=(3, 5, 2)).astype(np.float32),
    }
    short = trim(inputs)
    assert {name: value.shape for name, value in short.items()} == {
        "question": (3, 4), "question_mask": (3, 1, 1, 4), "regions": (3, 3, 4), "region_mask": (3, 1, 1, 3),
        "boxes": (3, 3, 2),
    }  # fmt: skip
    with torch.no_grad():
        whole, trimmed = (padded(*to_tensors(values, torch.device("cpu"))) for values in (inputs, short))
    assert torch.allclose(whole, trimmed, atol=1e-6) and whole.std() > 0.01
