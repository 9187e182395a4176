"""Tiny folders in VQA-v2's and GQA's shapes, of generated scenes."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from edgevqa.data import scene_questions
from edgevqa.data.scenes import Scenes, sample_scenes

PICTURES = {"train": 12, "val": 3, "test": 4}
Planned = list[scene_questions.Planned]


def scenes_of(split: str) -> tuple[Scenes, Planned, int]:
    """Scenes and six questions about each, and the id of the first."""
    number = list(PICTURES).index(split)
    random = np.random.default_rng([5, number])
    scenes = sample_scenes(PICTURES[split], random)
    return scenes, scene_questions.plan_questions(scenes.table, 6, random), 1000 * number


def people_answers(answer: str, random: np.random.Generator) -> list[dict[str, Any]]:
    """Ten answers, of which at least three are `answer`."""
    given = [answer] * int(random.integers(3, 11))
    given += ["not sure"] * (10 - len(given))
    return [{"answer": text, "answer_confidence": "yes", "answer_id": number} for number, text in enumerate(given, 1)]


def write(path: Path, content: Any) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(content))


def make_vqa(folder: Path, *, pictures: bool = True) -> Path:
    """A folder with the names that VQA-v2 gives its files."""
    random = np.random.default_rng(3)
    for split in PICTURES:
        scenes, planned, first = scenes_of(split)
        head = {"info": {}, "license": {}, "data_type": "mscoco", "data_subtype": f"{split}2014"}
        questions, annotations = [], []
        for number, one in enumerate(planned):
            answer = scene_questions.ANSWERS[one.answer]
            known = {"question_id": 1000 * (first + one.scene) + number, "image_id": first + one.scene}
            questions.append({**known, "question": one.text})
            annotations.append(
                {
                    **known,
                    "question_type": one.family,
                    "answer_type": "yes/no" if answer in ("yes", "no") else "other",
                    "multiple_choice_answer": answer,
                    "answers": people_answers(answer, random),
                }
            )
        task = {**head, "task_type": "Open-Ended", "questions": questions}
        write(folder / f"v2_OpenEnded_mscoco_{split}2014_questions.json", task)
        write(folder / f"v2_mscoco_{split}2014_annotations.json", {**head, "annotations": annotations})
        for row in range(len(scenes) if pictures else 0):
            path = folder / "images" / f"{split}2014" / f"COCO_{split}2014_{first + row:012d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scenes.picture(row)).save(path)
    return folder


def make_gqa(folder: Path) -> Path:
    """A folder with the names that GQA gives its files; its test file has no answers."""
    words = {"train": "train_balanced", "val": "val_balanced", "test": "testdev_balanced"}
    for split, word in words.items():
        scenes, planned, first = scenes_of(split)
        entries = {
            f"{first + one.scene:04d}{number:03d}": {
                "question": one.text,
                "imageId": f"n{first + one.scene}",
                "answer": scene_questions.ANSWERS[one.answer],
                "fullAnswer": "",
                "isBalanced": True,
                "types": {"structural": one.family, "semantic": "attr", "detailed": "x"},
            }
            for number, one in enumerate(planned)
        }
        write(folder / f"{word}_questions.json", entries)
        if split == "test":
            unanswered = {f"9{key}": {k: v for k, v in e.items() if k != "answer"} for key, e in entries.items()}
            write(folder / "test_balanced_questions.json", unanswered)
        for row in range(len(scenes)):
            path = folder / "images" / f"n{first + row}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(scenes.picture(row)).save(path)
    return folder
