"""What a training run is asked to make: data in the family's form, sizes and recipes, the grid, and a start."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.checkpoints.importers.bert_start import (
    VOCABULARY,
    find_weights,
    language_sizes,
    read_bert,
    start_from_bert,
)
from edgevqa.checkpoints.importers.words import read_word_pieces
from edgevqa.checkpoints.make import Start
from edgevqa.checkpoints.presets import (
    SIDES,
    Preset,
    from_language,
    general_preset,
    preset,
    resized,
)
from edgevqa.data.dataset import Dataset, load_dataset
from edgevqa.data.forms import FORMS, Form, in_form
from edgevqa.data.own import own_dataset
from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import MCANConfig
from edgevqa.progress import Progress
from edgevqa.slimming.grid import Slimming, slimming_of
from edgevqa.storage import sha256_file

if TYPE_CHECKING:
    from edgevqa.data.word_pieces import Words
    from edgevqa.models.families import Network


@dataclass(frozen=True)
class Wanted:
    """What is asked for; None leaves it to the data and the family.

    Args:
        family: of the model.
        hidden: size of the residual stream.
        heads: attention heads.
        layers: of a single stream, or of each of MCAN's two lists.
        start: a language model that a single stream starts from: its folder, or the file of its weights.
        vocabulary: word pieces of a single stream, or with a folder of data MCAN's words.
        picture: with a folder of data, what pictures are given as.
        regions: likewise, for how many regions of features there is room.
        side: likewise, height and width of pixels.
        grid: likewise, rows and columns of features.
        answers: likewise, an answer list.
        skip_bad: likewise, whether entries that cannot be used are left out.
    """

    family: str = MCANConfig.family
    hidden: int | None = None
    heads: int | None = None
    layers: int | None = None
    start: Path | None = None
    vocabulary: Path | None = None
    picture: str | None = None
    regions: int | None = None
    side: int | None = None
    grid: tuple[int, int] | None = None
    answers: Path | None = None
    skip_bad: bool = False


@dataclass(frozen=True)
class Choice:
    """What is trained, for `edgevqa.checkpoints.make.make_checkpoint`."""

    dataset: Dataset
    preset: Preset
    slimming: Slimming
    start: Start | None


def choose(wanted: Wanted, *, name: str | None = None, data: Path | None = None, progress: Progress) -> Choice:
    """Find the data, sizes, recipes and start of a training.

    Args:
        wanted: what is asked for.
        name: of a dataset that comes with edgevqa; `scenes` by default.
        data: a folder of a user's own instead.
        progress: told about long work.

    Raises:
        UsageError: the wishes do not go together, or do not go with the data.
        InputError: a file is broken or missing.
    """
    form, path = FORMS[wanted.family], _weights(wanted)
    if data is None:
        _check_named(wanted, form)
        dataset = in_form(load_dataset(name or "scenes"), form, _word_pieces(wanted, form, path))
    else:
        dataset = own_dataset(
            data,
            picture=wanted.picture,
            answers=wanted.answers,
            vocabulary=_word_pieces(wanted, form, path) if form.word_pieces else wanted.vocabulary,
            regions=wanted.regions,
            side=wanted.side or SIDES.get(wanted.family),
            grid=wanted.grid,
            form=form,
            skip_bad=wanted.skip_bad,
            progress=progress,
        )
    if data is None and wanted.family == MCANConfig.family:
        chosen = preset(dataset.name)
    else:
        chosen = general_preset(dataset, len(dataset.split("train", progress)), wanted.family)
    if path is None:
        chosen = resized(chosen, hidden=wanted.hidden, heads=wanted.heads, layers=wanted.layers)
        return Choice(dataset, chosen, slimming_of(chosen.layers, wanted.family), None)
    state = read_bert(path)
    sizes = language_sizes(state, layers=wanted.layers, **({} if wanted.heads is None else {"heads": wanted.heads}))
    if sizes["vocabulary_size"] != len(dataset.vocabulary.words):
        raise InputError(
            f"{path} has {sizes['vocabulary_size']} word pieces, and its list has {len(dataset.vocabulary.words)}"
        )
    chosen = resized(from_language(chosen, sizes))

    def give(model: Network) -> None:
        start_from_bert(model, state)  # type: ignore[arg-type]

    start = Start(f"the language model `{path.name}` (sha256 {sha256_file(path)})", give)
    return Choice(dataset, chosen, slimming_of(chosen.layers, wanted.family), start)


def _check_named(wanted: Wanted, form: Form) -> None:
    """Raise UsageError for wishes that only a folder of data has an answer to."""
    of_folders: Mapping[str, Any] = {
        "--picture": wanted.picture,
        "--regions": wanted.regions,
        "--side": wanted.side,
        "--grid": wanted.grid,
        "--answers": wanted.answers,
        "--skip-bad": wanted.skip_bad or None,
        **({} if form.word_pieces else {"--vocabulary": wanted.vocabulary}),
    }
    given = [option for option, value in of_folders.items() if value is not None]
    if given:
        raise UsageError(f"{', '.join(of_folders)} go with --data; {given[0]} was given without")


def _weights(wanted: Wanted) -> Path | None:
    """The file of the language model that is started from."""
    if wanted.start is None:
        return None
    if not FORMS[wanted.family].word_pieces:
        raise UsageError(f"--start is for uniter and clip-vil: {wanted.family} is no language model with pictures")
    if wanted.hidden is not None:
        raise UsageError("--start brings its own hidden size; leave out --hidden")
    return find_weights(wanted.start)


def _word_pieces(wanted: Wanted, form: Form, weights: Path | None) -> Words | None:
    """The word pieces that were given, or that belong to the language model."""
    if not form.word_pieces:
        return None
    if wanted.vocabulary is not None:
        return read_word_pieces(wanted.vocabulary)
    return None if weights is None else read_word_pieces(weights.with_name(VOCABULARY))
