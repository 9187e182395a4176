"""`edgevqa predict`: the answers to all questions of a file, as the servers of the challenges take them."""

from __future__ import annotations

import json
from pathlib import Path

import click

from edgevqa.cli.console import print_json, show_progress
from edgevqa.cli.options import examples, json_option, skip_bad_option


@click.command(
    epilog=examples(
        "edgevqa predict artifacts/mine/w0.25-d2/onnx-fp32 --data vqa-v2 --split test2015",
        "edgevqa predict artifacts/mine/w0.25-d2/onnx-fp32 --data gqa --split testdev --out gqa.json",
    )
)
@click.argument("artifact", type=click.Path(path_type=Path))
@click.option("--data", type=click.Path(path_type=Path), required=True, help="The folder of questions and pictures.")
@click.option("--split", default="test", help="Which question file there, by a word of its name.  [default: test]")
@skip_bad_option
@click.option("--out", type=click.Path(path_type=Path), default=Path("results.json"), help="The file to write.")
@click.option("--runtime", help="Of those that the file is for.  [default: the first installed]")
@json_option
def command(
    artifact: Path, data: Path, split: str, skip_bad: bool, out: Path, runtime: str | None, as_json: bool
) -> None:
    """Answer every question of a split with the exported file in the folder ARTIFACT, and write the results file.

    That is a list of question_id and answer for VQA-v2, of questionId and prediction for GQA. Where the questions have
    answers, the official score is printed as well, by question type and answer type. Needs no PyTorch.
    """
    from edgevqa.answering import answer_all
    from edgevqa.storage import write_text

    with show_progress() as progress:
        found = answer_all(artifact, data, split, runtime=runtime, skip_bad=skip_bad, progress=progress)
    write_text(out, json.dumps(found.results, ensure_ascii=False) + "\n")
    score = found.score
    if as_json:
        described = None if score is None else {"percent": round(score.percent, 2), "kind": score.kind}
        rounded = {kind: {name: round(mean, 2) for name, mean in by.items()} for kind, by in found.groups.items()}
        print_json(
            {
                "file": out,
                "questions": len(found.results),
                "score": described,
                "groups": rounded,
                "left_out": found.left_out,
            }
        )
        return
    click.echo(f"wrote {out} with the answers to {len(found.results)} questions")
    if score is not None:
        click.echo(f"{score.kind}: {score.percent:.2f} %")
    for kind, by_name in found.groups.items():
        for name, mean in by_name.items():
            click.echo(f"  {kind} {name}: {mean:.2f} %")
