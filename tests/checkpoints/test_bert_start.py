"""A UNITER that starts from BERT's layout computes what BERT does on the text."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor, nn
from torch.nn import functional

from edgevqa.checkpoints.importers.bert_start import read_bert, start_from_bert, uniter_config
from edgevqa.errors import InputError, UsageError
from edgevqa.models.config import MASKED, RegionInput
from edgevqa.models.initialisation import initialise_single_stream
from edgevqa.models.uniter import Uniter

HIDDEN, HEADS, FFN, LAYERS, PIECES, LENGTH = 24, 4, 48, 3, 20, 6
IMAGE = RegionInput(3, 5, box_size=7)


def bert() -> dict[str, Tensor]:
    """Random weights under the names of BERT's checkpoints."""
    torch.manual_seed(0)
    weights = {
        "embeddings.word_embeddings.weight": torch.randn(PIECES, HIDDEN),
        "embeddings.position_embeddings.weight": torch.randn(10, HIDDEN),
        "embeddings.token_type_embeddings.weight": torch.randn(2, HIDDEN),
        "pooler.dense.weight": torch.randn(HIDDEN, HIDDEN) / 5,
        "pooler.dense.bias": torch.randn(HIDDEN),
        "cls.predictions.bias": torch.randn(PIECES),
    }
    norms = ["embeddings.LayerNorm"]
    for number in range(LAYERS):
        layer = f"encoder.layer.{number}"
        for name, inputs, outputs in (
            ("attention.self.query", HIDDEN, HIDDEN), ("attention.self.key", HIDDEN, HIDDEN),
            ("attention.self.value", HIDDEN, HIDDEN), ("attention.output.dense", HIDDEN, HIDDEN),
            ("intermediate.dense", HIDDEN, FFN), ("output.dense", FFN, HIDDEN),
        ):  # fmt: skip
            weights[f"{layer}.{name}.weight"] = torch.randn(outputs, inputs) / 4
            weights[f"{layer}.{name}.bias"] = torch.randn(outputs)
        norms += [f"{layer}.attention.output.LayerNorm", f"{layer}.output.LayerNorm"]
    for norm in norms:
        weights[f"{norm}.weight"], weights[f"{norm}.bias"] = torch.rand(HIDDEN) + 0.5, torch.randn(HIDDEN)
    return weights


def pooled_by_pytorch(weights: dict[str, Tensor], question: Tensor, layers: int) -> Tensor:
    """BERT's pooler output by PyTorch's own encoder layers."""
    states = weights["embeddings.word_embeddings.weight"][question]
    states = states + weights["embeddings.position_embeddings.weight"][: question.shape[1]]
    states = states + weights["embeddings.token_type_embeddings.weight"][0]
    norm = [weights[f"embeddings.LayerNorm.{part}"] for part in ("weight", "bias")]
    states = functional.layer_norm(states, (HIDDEN,), *norm, eps=1e-12)
    for number in range(layers):
        layer = nn.TransformerEncoderLayer(HIDDEN, HEADS, FFN, 0.0, "gelu", 1e-12, batch_first=True).eval()
        theirs = f"encoder.layer.{number}"
        of = {
            "self_attn.out_proj": "attention.output.dense", "linear1": "intermediate.dense", "linear2": "output.dense",
            "norm1": "attention.output.LayerNorm", "norm2": "output.LayerNorm",
        }  # fmt: skip
        loaded = {f"{a}.{part}": weights[f"{theirs}.{b}.{part}"] for a, b in of.items() for part in ("weight", "bias")}
        for part in ("weight", "bias"):
            own = [weights[f"{theirs}.attention.self.{name}.{part}"] for name in ("query", "key", "value")]
            loaded[f"self_attn.in_proj_{part}"] = torch.cat(own)
        layer.load_state_dict(loaded)
        with torch.no_grad():
            states = layer(states)
    return functional.linear(states[:, 0], weights["pooler.dense.weight"], weights["pooler.dense.bias"])


def pooled_by_uniter(model: Uniter, question: Tensor) -> Tensor:
    """The pooler output over a question alone: every region is masked."""
    count = len(question)
    picture = torch.zeros(count, IMAGE.count, HIDDEN)
    mask = torch.cat((torch.zeros(count, 1, 1, LENGTH), torch.full((count, 1, 1, IMAGE.count), MASKED)), -1)
    with torch.no_grad():
        return model.eval().first_token(question, picture, mask)


@pytest.mark.parametrize("style", ["bare", "prefixed", "greek", "torch"])
def test_it_computes_what_bert_does(style: str, tmp_path: Path) -> None:
    weights = bert()
    path = tmp_path / ("model.bin" if style == "torch" else "model.safetensors")
    stored = {("" if style == "bare" else "bert.") + name: value for name, value in weights.items()}
    if style == "greek":
        names = (("LayerNorm.weight", "LayerNorm.gamma"), ("LayerNorm.bias", "LayerNorm.beta"))
        for new, old in names:
            stored = {name.replace(new, old): value for name, value in stored.items()}
    if style == "torch":
        torch.save(stored, path)
    else:
        save_file(stored, path)
    state = read_bert(path)
    config = uniter_config(state, image=IMAGE, answers=9, heads=HEADS, question_length=LENGTH)
    model = Uniter(config)
    initialise_single_stream(model, 1)
    before = {name: value.clone() for name, value in model.state_dict().items()}
    fresh = start_from_bert(model, state)
    question = torch.randint(0, PIECES, (5, LENGTH))
    expected = pooled_by_pytorch(weights, question, LAYERS)
    torch.testing.assert_close(pooled_by_uniter(model, question), expected, atol=1e-4, rtol=1e-4)
    assert {name.partition(".")[0] for name in fresh} == {"regions", "answer"}
    for name, value in model.state_dict().items():
        assert torch.equal(value, before[name]) == (name in fresh), name


def test_fewer_layers_and_words(tmp_path: Path) -> None:
    weights, path = bert(), tmp_path / "model.safetensors"
    save_file(weights, path)
    state, rows = read_bert(path), [0, 3, 5, 19]
    config = uniter_config(
        state, image=IMAGE, answers=9, heads=HEADS, layers=2, word_pieces=len(rows), question_length=LENGTH
    )
    model = Uniter(config)
    start_from_bert(model, state, rows)
    question = torch.randint(0, len(rows), (5, LENGTH))
    expected = pooled_by_pytorch(weights, torch.tensor(rows)[question], 2)
    torch.testing.assert_close(pooled_by_uniter(model, question), expected, atol=1e-4, rtol=1e-4)
    for wrong in ([0, 3, 5], [0, 3, 5, 20]):
        with pytest.raises(UsageError, match="are no 4 words for this model"):
            start_from_bert(model, state, wrong)
    with pytest.raises(InputError, match=r"word_embeddings.* has the shape \[20, 24\]; this model needs \[4, 24\]"):
        start_from_bert(model, state)


def test_what_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "model.safetensors"
    save_file(bert(), path)
    state = read_bert(path)
    with pytest.raises(UsageError, match=r"4 layers: .* has 3"):
        uniter_config(state, image=IMAGE, answers=9, heads=HEADS, layers=4)
    with pytest.raises(UsageError, match="7 heads do not divide the hidden size 24"):
        uniter_config(state, image=IMAGE, answers=9, heads=7)
    save_file({"weight": torch.zeros(2)}, path)
    with pytest.raises(InputError, match=r"lacks the key 'bert\.embeddings\.word_embeddings\.weight'"):
        read_bert(path)
    path.write_bytes(b"nothing")
    with pytest.raises(InputError, match="is not a whole safetensors file"):
        read_bert(path)
