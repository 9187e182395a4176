"""From a dataset to a checkpoint folder, and on after a kill."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgevqa.checkpoints import Checkpoint, load_checkpoint
from edgevqa.data.score import accuracy
from edgevqa.errors import EnvironmentFailure, UsageError
from edgevqa.models.config import input_specs
from edgevqa.slimming.grid import grid
from edgevqa.storage import folder_lock
from edgevqa.training.evaluation import predict
from tests.checkpoints import scenes_run


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(autouse=True)
def own_cache(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EDGEVQA_CACHE", str(cache))


@pytest.fixture(scope="module")
def made(cache: Path, tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    """The checkpoint of a run that nothing disturbed."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EDGEVQA_CACHE", str(cache))
        return scenes_run.run(tmp_path_factory.mktemp("whole") / "toys")[0]


def test_a_dataset_becomes_a_whole_checkpoint(made: Checkpoint) -> None:
    again, data = load_checkpoint(made.folder), scenes_run.dataset()
    assert again == made
    assert made.trained and made.name == "toys", "its artifacts must not lie among the bundled model's"
    assert made.dataset == {"name": "scenes", "version": data.version, "seed": data.seed}
    assert made.vocabulary == data.vocabulary and made.answers == data.answers
    assert made.preprocessing == data.preprocessing
    assert made.training["teacher"]["steps"] == 2 and made.training["student"]["steps"] == 3


def test_its_scores_are_those_of_its_submodels_on_the_whole_test_split(made: Checkpoint) -> None:
    test, plans = scenes_run.dataset().split("test"), grid(made.config, made.slimming)
    assert list(made.scores) == [plan.name for plan in plans] and len(plans) == 10
    for plan in (plans[0], plans[-1]):
        right = accuracy(predict(made.submodel(plan), test).argmax(1), test.answers).percent
        assert made.scores[plan.name] == pytest.approx(right, abs=1e-3)
    assert 0 < made.floors["majority"] <= made.floors["question_only"] <= 100


def test_its_reference_questions_are_real_ones_of_the_test_split(made: Checkpoint) -> None:
    test = scenes_run.dataset().split("test")
    with np.load(made.reference_path, allow_pickle=False) as stored:
        values = {name: stored[name] for name in stored.files}
    count = min(128, len(test))
    for spec in input_specs(made.config):
        assert values[spec.name].shape == (count, *spec.shape[1:]) and values[spec.name].dtype == spec.dtype
    places = [test.texts.index(str(values["texts"][row])) for row in (0, count - 1)]
    assert places[0] == 0
    assert (values["labels"] == test.answers[np.linspace(0, len(test) - 1, count).astype(int)]).all()
    assert values["question"][0].tolist() == test.tokens[0].tolist()


def test_its_card_says_where_it_comes_from(made: Checkpoint) -> None:
    card = (made.folder / "card.md").read_text()
    for text in ("`scenes` version", "`edgevqa train toys`", "2 steps of 32 questions, seed 3", "3 steps, K = 5"):
        assert text in card
    for name, score in made.scores.items():
        assert f"| {name} | " in card and f"| {score:.2f} |" in card
    assert f"{made.floors['question_only']:.1f} %" in card


def test_the_student_starts_from_the_teacher(tmp_path: Path) -> None:
    still = replace(scenes_run.PRESET.student, steps=1, learning_rate=0.0)
    weights = scenes_run.run(tmp_path / "toys", preset=replace(scenes_run.PRESET, student=still))[0].parameters()
    teacher = torch.load(tmp_path / "toys.training" / "teacher.state.pt", weights_only=True)["model"]
    assert all(torch.equal(value, teacher[name]) for name, value in weights.items())


@pytest.mark.slow
def test_a_run_that_is_killed_goes_on_and_ends_with_the_same_weights(
    made: Checkpoint, tmp_path: Path, child_environment: dict[str, str], cache: Path
) -> None:
    out = tmp_path / "toys"
    command = [sys.executable, scenes_run.__file__, str(out), "student step 2/3"]
    environment = {**child_environment, "EDGEVQA_CACHE": str(cache)}
    running = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        assert running.stdout is not None
        told = []
        for line in running.stdout:
            told.append(line)
            if "student step 2/3" in line:
                break
    finally:
        running.kill()
        running.wait()
    assert "student step 2/3" in told[-1], "".join(told)
    assert not out.exists(), "a checkpoint must be whole or absent"

    finished, told = scenes_run.run(out)
    steps = [line.split(",")[0] for line in told if " step " in line and "loss" in line]
    assert steps == ["student step 2/3", "student step 3/3"], "only what was not saved is done again"
    expected = made.parameters()
    assert all(torch.equal(value, expected[name]) for name, value in finished.parameters().items())
    assert finished.scores == made.scores
    assert sorted(path.name for path in tmp_path.iterdir()) == ["toys", "toys.training"]


def test_a_finished_run_is_not_trained_again(made: Checkpoint) -> None:
    again, told = scenes_run.run(made.folder)
    assert told == [] and again == made


def test_other_settings_do_not_go_on_from_an_old_state(made: Checkpoint) -> None:
    other = replace(scenes_run.PRESET, teacher=replace(scenes_run.PRESET.teacher, learning_rate=0.5))
    with pytest.raises(UsageError, match=r"teacher\.state\.pt is the state of a run with other settings"):
        scenes_run.run(made.folder, preset=other)
    assert load_checkpoint(made.folder) == made


def test_other_data_do_not_go_on_from_an_old_state(made: Checkpoint, monkeypatch: pytest.MonkeyPatch) -> None:
    other = replace(scenes_run.dataset(), version=99)
    monkeypatch.setattr(scenes_run, "dataset", lambda: other)
    with pytest.raises(UsageError, match=r"toys\.training is of a run on other data or another grid"):
        scenes_run.run(made.folder)
    assert load_checkpoint(made.folder) == made


def test_two_runs_do_not_train_into_one_folder(made: Checkpoint, tmp_path: Path) -> None:
    with (
        folder_lock(tmp_path / "toys.training", "training"),
        pytest.raises(EnvironmentFailure, match=r"another edgevqa process is using .*training"),
    ):
        scenes_run.run(tmp_path / "toys")


def test_a_folder_of_something_else_is_refused_before_training(tmp_path: Path) -> None:
    (tmp_path / "mine.png").write_bytes(b"precious")
    with pytest.raises(UsageError, match="it is not replaced, choose another folder"):
        scenes_run.run(tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["mine.png"]


def test_a_folder_whose_name_is_no_model_s_is_refused_before_training(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="named after its folder, and 'my scenes' should be a name of letters"):
        scenes_run.run(tmp_path / "my scenes")
    assert list(tmp_path.iterdir()) == []


def test_the_checkpoint_that_comes_back_is_the_one_that_was_made(
    made: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also when its folder, given relatively, is called as a bundled model is."""
    (made.folder.parent / "scenes").symlink_to(made.folder)
    (made.folder.parent / "scenes.training").symlink_to(made.folder.with_name("toys.training"))
    monkeypatch.chdir(made.folder.parent)
    assert scenes_run.run(Path("scenes"))[0].sha256 == made.sha256
