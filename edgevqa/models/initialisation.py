"""Starting weights: those with which a deep post-norm MCAN begins to learn early, and BERT's."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

from edgevqa.models.mcan import MCAN
from edgevqa.models.single_stream import SingleStream

if TYPE_CHECKING:
    from edgevqa.models.families import Network

BRANCH_SCALE = 0.3
"""Of the last matrix of every residual branch: a deep post-norm network learns earlier when its branches start small
(the idea of Zhang et al. 2019, "Fixup initialization")."""


def initialise(model: Network, seed: int) -> None:
    """Give a model of any family its starting weights, which depend on its sizes and the seed alone."""
    if isinstance(model, MCAN):
        initialise_mcan(model, seed)
    else:
        initialise_single_stream(model, seed)


def initialise_mcan(model: MCAN, seed: int) -> None:
    """Give a model its starting weights, which depend on its sizes and the seed alone.

    PyTorch's own ones but for small residual branches, and an LSTM that remembers: orthogonal recurrent matrices
    and a forget gate that starts open (Jozefowicz et al. 2015).
    """
    torch.manual_seed(seed)
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Embedding | nn.LayerNorm | nn.Conv2d):
            module.reset_parameters()
    model.lstm.reset_parameters()
    size = model.lstm.hidden_size
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for gate in range(4):
            nn.init.orthogonal_(parameters["lstm.weight_hh_l0"][gate * size : (gate + 1) * size])
        nn.init.xavier_uniform_(parameters["lstm.weight_ih_l0"])
        parameters["lstm.bias_ih_l0"][size : 2 * size] += 1
        for name, parameter in parameters.items():
            if name.startswith("stem.convolutions."):
                _start_convolution(parameter)
            if name.startswith(("encoder.", "decoder.")) and name.endswith(("merge.weight", "outer.weight")):
                parameter.mul_(BRANCH_SCALE)


def initialise_single_stream(model: SingleStream, seed: int) -> None:
    """Give a model BERT's starting weights (Devlin et al. 2019), which depend on its sizes and the seed alone.

    Matrices and tables are normal with a deviation of 0.02, biases zero. The trunk's blocks begin as little more than
    their shortcuts.
    """
    torch.manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if name.startswith("trunk."):
                _start_convolution(parameter)
                if name.endswith("expand.weight"):
                    parameter.mul_(BRANCH_SCALE)
    for module in model.modules():
        if isinstance(module, nn.LayerNorm):
            module.reset_parameters()
        elif isinstance(module, nn.Linear | nn.Embedding):
            nn.init.normal_(module.weight, std=0.02)
            if isinstance(module, nn.Linear):
                nn.init.zeros_(module.bias)


def _start_convolution(parameter: torch.Tensor) -> None:
    """Weights that keep the size of a signal behind a ReLU, and no bias.

    PyTorch's own start shrinks a picture's signal at every ReLU until the biases drown it.
    """
    if parameter.dim() > 1:
        nn.init.kaiming_normal_(parameter, nonlinearity="relu")
    else:
        parameter.zero_()
