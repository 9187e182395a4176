"""A UNITER or CLIP-ViL that starts from a language model: text, layers and pooler are BERT's, the rest is fresh.

So did their authors'. Any checkpoint in BERT's layout will do; MiniLM (Wang et al. 2020) has it, too, with 6 layers of
384. A model that keeps only some word pieces takes their rows, and one that is shallower the first layers.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgevqa.checkpoints.importers.bert import HEADS, QUESTION_LENGTH, bert
from edgevqa.checkpoints.importers.layout import Layout
from edgevqa.checkpoints.importers.state import State, read_state
from edgevqa.errors import InputError, MissingExtra, UsageError
from edgevqa.models.config import EncoderLayerSize, RegionInput
from edgevqa.models.single_stream_config import UniterConfig

if TYPE_CHECKING:
    from torch import Tensor

    from edgevqa.models.clip_vil import ClipViL
    from edgevqa.models.uniter import Uniter

LAYOUT = Layout(bert("bert", "none"), mark="text.words.weight")
LANGUAGE = ("text.", "encoder.", "pooler.")
"""What begins so is a language model's."""
WIDTH_OF_HEADS = 2
"""The answer head is so many times as wide as the model, as UNITER's and CLIP-ViL's."""
FILES = ("model.safetensors", "pytorch_model.bin")
"""What a folder's weights are called; its word pieces are in `VOCABULARY`."""
VOCABULARY = "vocab.txt"


def find_weights(path: Path) -> Path:
    """The file of weights in a folder, or the file itself; raises InputError when the folder has none."""
    if not path.is_dir():
        return path
    found = next((path / name for name in FILES if (path / name).is_file()), None)
    if found is None:
        raise InputError(f"{path} holds no language model: neither {' nor '.join(FILES)}")
    return found


def read_bert(path: Path) -> State:
    """The weights of a file in BERT's layout, `.safetensors` or PyTorch's, under the names that begin with `bert.`.

    Raises:
        InputError: the file is damaged, holds more than weights, or none of BERT's.
        MissingExtra: torch is not installed.
    """
    tensors = _safetensors(path) if path.suffix == ".safetensors" else read_state(path).tensors
    own = {key.removeprefix("bert."): value for key, value in tensors.items()}
    # Files that were converted from TensorFlow call weight and bias of a norm by Greek letters.
    renamed = {key.replace(".gamma", ".weight").replace(".beta", ".bias"): value for key, value in own.items()}
    state = State(path, {f"bert.{key}": value for key, value in renamed.items()})
    state.shape(LAYOUT.key(LAYOUT.mark), "word pieces", "hidden")
    return state


def _safetensors(path: Path) -> Mapping[str, Tensor]:
    try:
        from safetensors.torch import load_file
    except ImportError:
        raise MissingExtra("torch", "export") from None
    try:
        return {key: value.float() for key, value in load_file(path).items() if value.is_floating_point()}
    except FileNotFoundError:
        raise InputError(f"{path} does not exist") from None
    except Exception as error:
        raise InputError(f"{path} is not a whole safetensors file: {error}") from error


def language_sizes(
    state: State, *, heads: int = HEADS, layers: int | None = None, word_pieces: int | None = None
) -> dict[str, Any]:
    """The sizes of a model of a single stream that can start from these weights: all that the language model shows.

    Args:
        state: of `read_bert`.
        heads: of the language model; its weights do not say, BERT-base and MiniLM have 12.
        layers: how many of its layers; all by default.
        word_pieces: how many of its word pieces; all by default.

    Raises:
        InputError: a weight that shows a size is missing.
        UsageError: the heads do not divide the hidden size, or there are fewer layers or word pieces.
    """
    pieces, hidden = state.shape(LAYOUT.key("text.words.weight"), "word pieces", "hidden")
    positions, _ = state.shape(LAYOUT.key("text.positions.weight"), "positions", "hidden")
    types, _ = state.shape(LAYOUT.key("text.types.weight"), "types", "hidden")
    pooled, _ = state.shape(LAYOUT.key("pooler.weight"), "pooled size", "hidden")
    ffn, _ = state.shape(LAYOUT.key("encoder.0.ffn.inner.weight"), "FFN", "hidden")
    there = state.layers(LAYOUT.modules["encoder.{}.ffn.inner"])
    if types < len(("text", "picture")):
        raise InputError(f"{state.path} has {types} token types; text and pictures need one each")
    for what, wanted, most in (("heads", heads, hidden), ("layers", layers, there), ("pieces", word_pieces, pieces)):
        if wanted is not None and not 0 < wanted <= most:
            raise UsageError(f"{wanted} {what}: {state.path} has {most}")
    if hidden % heads:
        raise UsageError(f"{heads} heads do not divide the hidden size {hidden} of {state.path}")
    return {
        "vocabulary_size": word_pieces or pieces,
        "hidden": hidden,
        "head_size": hidden // heads,
        "encoder": (EncoderLayerSize(heads, ffn),) * (layers or there),
        "pooled_size": pooled,
        "answer_hidden": WIDTH_OF_HEADS * hidden,
        "positions": positions,
        "types": types,
    }


def uniter_config(
    state: State,
    *,
    image: RegionInput,
    answers: int,
    heads: int = HEADS,
    layers: int | None = None,
    word_pieces: int | None = None,
    question_length: int = QUESTION_LENGTH,
    dropout: float = 0.1,
) -> UniterConfig:
    """Sizes of a UNITER that can start from these weights; the rest as in `language_sizes`, whose errors it raises.

    Args:
        state: of `read_bert`.
        image: the regions.
        answers: how many.
        heads: of the language model.
        layers: how many of its layers.
        word_pieces: how many of its word pieces.
        question_length: tokens of a question.
        dropout: dropout probability in training.
    """
    sizes = language_sizes(state, heads=heads, layers=layers, word_pieces=word_pieces)
    return UniterConfig(answer_count=answers, question_length=question_length, image=image, dropout=dropout, **sizes)


def start_from_bert(model: Uniter | ClipViL, state: State, rows: Sequence[int] | None = None) -> tuple[str, ...]:
    """Give a UNITER or CLIP-ViL the weights of a language model; returns the names of those that stay as they were.

    Args:
        model: of the sizes of `language_sizes`; what BERT has none of keeps its weights, so initialise it first.
        state: of `read_bert`.
        rows: the numbers of the word pieces that the model keeps, in its order; all by default.

    Raises:
        InputError: a weight is missing or has another shape than the model's.
        UsageError: there is another number of rows than the model has word pieces, or one that the file lacks.
    """
    import torch

    config, fresh = model.config, []
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if not name.startswith(LANGUAGE):
                fresh.append(name)
                continue
            key = LAYOUT.key(name)
            state.shape(key, *map(str, parameter.shape))
            found = state.tensors[key]
            if name == "text.words.weight" and rows is not None:
                if len(rows) != config.vocabulary_size or not all(0 <= row < len(found) for row in rows):
                    raise UsageError(
                        f"{len(rows)} rows of the {len(found)} word pieces of {state.path} are no "
                        f"{config.vocabulary_size} words for this model"
                    )
                found = found[torch.tensor(list(rows))]
            if found.shape != parameter.shape:
                raise InputError(
                    f"{state.path}: the key {key!r} has the shape {list(found.shape)}; "
                    f"this model needs {list(parameter.shape)}"
                )
            parameter.copy_(found)
    return tuple(fresh)
