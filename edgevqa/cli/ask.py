"""`edgevqa ask`: a question about a picture, answered by an exported file."""

from __future__ import annotations

from pathlib import Path

import click

from edgevqa.cli.console import note, print_json
from edgevqa.cli.options import examples, json_option


@click.command(
    epilog=examples(
        'edgevqa ask artifacts/scenes/w1-d6/onnx-fp32 picture.png "how many red circles are there?"',
        'edgevqa ask artifacts/scenes/w0.25-d2/tflite-int8 regions.npz "is there a big square?" --top 3',
    )
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.argument("image", type=click.Path(path_type=Path))
@click.argument("question")
@click.option("--top", type=click.IntRange(1), default=5, help="How many answers.")
@click.option("--runtime", help="Of those that the file is for.  [default: the first installed]")
@json_option
def command(artifact: Path, image: Path, question: str, top: int, runtime: str | None, as_json: bool) -> None:
    """Answer QUESTION about IMAGE with the exported file in the folder ARTIFACT.

    IMAGE is a picture, or an .npz file with the model's region features. Needs no PyTorch.
    """
    from edgevqa.answering import answer

    reply = answer(artifact, image, question, runtime=runtime)
    if as_json:
        ranked = [{"answer": text, "probability": probability} for text, probability in reply.ranked[:top]]
        print_json({"answers": ranked, "unknown_words": reply.unknown, "cut": reply.cut, "runtime": reply.runtime})
        return
    if reply.unknown:
        note(f"warning: the model does not know {', '.join(map(repr, reply.unknown))} and may answer at random")
    if reply.cut:
        note("warning: the question is longer than the model reads; its end was cut off")
    for text, probability in reply.ranked[:top]:
        click.echo(f"{100 * probability:6.2f} %  {text}")
