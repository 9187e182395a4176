"""`edgevqa evaluate`: score exported files, or a checkpoint's submodels, on the test split."""

from __future__ import annotations

from pathlib import Path

import click

from edgevqa.cli.console import Column, end, note, print_json, print_table, show_progress
from edgevqa.cli.options import examples, json_option, names_option
from edgevqa.errors import GateFailed


@click.command(
    epilog=examples(
        "edgevqa evaluate",
        "edgevqa evaluate artifacts/scenes/w0.25-d2 --runtime litert",
        "edgevqa evaluate --questions 1000",
    )
)
@click.argument("artifacts", type=click.Path(file_okay=False, path_type=Path), default=Path("artifacts"))
@click.option("--model", help="The checkpoint they were exported from.  [default: the bundled one of that name]")
@names_option("--runtime", "runtimes", None, "Of onnxruntime, litert, tflite_runtime.  [default: the target's]")
@click.option("--target", help="A profile's name or file.  [default: this machine]")
@click.option("--data", type=click.Path(path_type=Path), help="Where the folder of your own data was moved to.")
@click.option("--questions", type=click.IntRange(1), help="Only this many, a fixed sample.  [default: all]")
@json_option
def command(
    artifacts: Path,
    model: str | None,
    runtimes: tuple[str, ...] | None,
    target: str | None,
    data: Path | None,
    questions: int | None,
    as_json: bool,
) -> None:
    """Score the files in the folder ARTIFACTS on the full test split; that makes their scores final.

    What was scored already is not scored again. Ends with exit code 1 when a file scores lower than its precision
    may.
    """
    from edgevqa.checkpoints import load_checkpoint
    from edgevqa.devices.targets import load_target
    from edgevqa.pipeline import artifacts_in, evaluate

    with show_progress() as progress:
        judged = evaluate(
            artifacts_in(artifacts),
            model=model,
            runtimes=runtimes,
            target=None if target is None else load_target(target),
            count=questions,
            data=data,
            progress=progress,
        )
    if as_json:
        print_json([{**one.verdict.to_dict(), "folder": one.artifact.folder} for one in judged])
    else:
        columns = [
            Column("artifact"), Column("runtime"), Column("score %", number=True), Column("score is"),
            Column("questions", number=True),
            Column("PyTorch fp32 %", number=True), Column("verdict"),
        ]  # fmt: skip
        rows = []
        for one in judged:
            score = one.verdict.score
            fp32 = None if score is None else score.fp32_percent
            rows.append(
                [
                    one.artifact.name,
                    one.runtime,
                    "-" if score is None else f"{score.percent:.2f} ± {score.standard_error:.2f}",
                    "-" if score is None else score.kind,
                    "-" if score is None else str(score.count),
                    "-" if fp32 is None else f"{fp32:.2f}",
                    one.verdict.status,
                ]
            )
        print_table(columns, rows)
        for scored in dict.fromkeys(one.artifact.manifest["model"] for one in judged):
            for name, floor in load_checkpoint(model or scored).floors.items():
                click.echo(f"{name.replace('_', '-')} floor of {scored}: {floor:.1f} %")
        for one in judged:
            if one.verdict.reason:
                note(f"{one.verdict.status}: {one.artifact.name} in {one.runtime}: {one.verdict.reason}")
    for one in judged:
        try:
            one.verdict.require()
        except GateFailed as error:
            end(error, as_json)
