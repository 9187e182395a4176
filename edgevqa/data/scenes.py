"""The scenes dataset: generated pictures of simple things, with questions whose wording gives nothing away.

After CLEVR (Johnson et al. 2017, arXiv:1612.06890) and Sort-of-CLEVR (Santoro et al. 2017, arXiv:1706.01427),
in two dimensions: 3 to 8 things, 3 shapes x 6 colours x 2 sizes, apart from each other by at least 2 pixels.
`scenes` gives a model the regions found in each picture, `scenes-pixels` the picture at 64 x 64.
Everything follows from (seed, split, block of 500 scenes), so any part can be made without the rest.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from PIL import Image

from edgevqa.data import scene_questions
from edgevqa.data.dataset import SPLITS, Dataset, Split
from edgevqa.data.regions import BOX_NUMBERS, FEATURES, REGIONS, WORKING_SIDE, find_regions
from edgevqa.data.scene_pictures import EXTENTS, PAINTS, PICTURE_SIDE, RADII, paint
from edgevqa.data.scene_questions import COLOURS, MAXIMUM_THINGS, QUESTION_LENGTH, SHAPES, SIZES, Table
from edgevqa.data.text import Vocabulary
from edgevqa.progress import Progress, Silent

VERSION = 1
SEED = 20170
BLOCK = 500
QUESTIONS_PER_SCENE = 16
SCENES = {"train": 24_000, "validation": 500, "test": 500}
SCENES_PIXELS = {"train": 8_000, "validation": 500, "test": 500}
PIXEL_SIDE = 64
NORMALISATION = {"mean": 0.9, "deviation": 0.17}
MARGIN = 2
SYNONYMS = {
    "an": "a", "which": "what", "color": "colour", "gray": "grey", "object": "thing", "objects": "things",
    "large": "big", "little": "small", "image": "picture", "less": "fewer", "over": "above", "under": "below",
}  # fmt: skip


@dataclass(frozen=True, eq=False)
class Scenes:
    """A block of scenes: the `table` that questions are about, and what only the painter needs.

    Attributes:
        radius: float32 (n, 8), pixels.
        paint: float32 (n, 8, 3), each thing's own shade, 0..255.
        background: float32 (n, 3).
    """

    table: Table
    radius: np.ndarray
    paint: np.ndarray
    background: np.ndarray

    def __len__(self) -> int:
        return len(self.table)

    def picture(self, scene: int) -> np.ndarray:
        """The scene painted: uint8 (128, 128, 3)."""
        table = self.table
        things = [
            (
                SHAPES[table.shape[scene, place]],
                float(self.radius[scene, place]),
                int(table.x[scene, place]),
                int(table.y[scene, place]),
                self.paint[scene, place],
            )
            for place in np.flatnonzero(table.valid[scene])
        ]
        return paint(self.background[scene], things)


def sample_scenes(scenes: int, random: np.random.Generator) -> Scenes:
    """Draw scenes; each has a palette of 2 to 6 colours, so that equal colours and higher counts occur."""
    shape = (scenes, MAXIMUM_THINGS)
    valid = np.arange(MAXIMUM_THINGS) < random.integers(3, MAXIMUM_THINGS + 1, scenes)[:, None]
    palette = np.argsort(random.random((scenes, len(COLOURS))), axis=1)
    slot = (random.random(shape) * random.integers(2, len(COLOURS) + 1, scenes)[:, None]).astype(np.int64)
    colour = np.take_along_axis(palette, slot, axis=1)
    kind = random.integers(0, len(SHAPES), shape)
    size = random.integers(0, len(SIZES), shape)
    radii = np.array([np.resize(RADII[name], 12) for name in SIZES], np.float32)
    radius = radii[size, random.integers(0, 12, shape)]
    x, y = _place(valid, kind, radius, random)
    paints = np.array([PAINTS[name] for name in COLOURS], np.float32)[colour]
    paints = np.clip(paints + random.integers(-14, 15, (*shape, 3)), 0, 255).astype(np.float32)
    background = random.integers(238, 256, (scenes, 1)) + random.integers(-3, 1, (scenes, 3))
    table = Table(
        size=np.where(valid, size, -1).astype(np.int8),
        colour=np.where(valid, colour, -1).astype(np.int8),
        shape=np.where(valid, kind, -1).astype(np.int8),
        x=np.where(valid, x, 0).astype(np.int16),
        y=np.where(valid, y, 0).astype(np.int16),
        valid=valid,
    )
    return Scenes(table, radius, paints, background.astype(np.float32))


def _place(
    valid: np.ndarray, kind: np.ndarray, radius: np.ndarray, random: np.random.Generator
) -> tuple[np.ndarray, np.ndarray]:
    """Centres (n, 8) with boxes inside the picture and MARGIN apart; a scene that jams starts again."""
    extents = np.array([EXTENTS[name] for name in SHAPES])[kind]
    reach = np.ceil(extents * radius[:, :, None]).astype(np.int64)  # (n, 8, 2) half boxes
    centres = np.zeros((*valid.shape, 2), np.int64)
    waiting = np.arange(len(valid))
    while len(waiting):
        jammed = np.zeros(len(waiting), bool)
        for place in range(MAXIMUM_THINGS):
            rows = waiting[valid[waiting, place] & ~jammed]
            for _ in range(60):
                if not len(rows):
                    break
                low = reach[rows, place] + MARGIN
                spot = low + (random.random((len(rows), 2)) * (PICTURE_SIDE - 2 * low + 1)).astype(np.int64)
                apart = np.abs(centres[rows, :place] - spot[:, None])
                free = apart >= reach[rows, :place] + reach[rows, place][:, None] + MARGIN
                settled = free.any(axis=2).all(axis=1)
                centres[rows[settled], place] = spot[settled]
                rows = rows[~settled]
            jammed |= np.isin(waiting, rows)
        waiting = waiting[jammed]
    return centres[:, :, 0], centres[:, :, 1]


def block_random(seed: int, split: str, block: int) -> np.random.Generator:
    """The random numbers of one block of a split."""
    return np.random.default_rng([seed, SPLITS.index(split), block])


def generate_split(
    name: str,
    scenes: int,
    seed: int = SEED,
    kind: str = "scenes",
    progress: Progress | None = None,
) -> Split:
    """Make a split of `scenes` scenes with about 16 questions each.

    Args:
        name: "train", "validation" or "test"; each has its own random numbers.
        scenes: how many scenes.
        seed: another seed gives other scenes and questions.
        kind: "scenes" for regions, "scenes-pixels" for pictures of 64 x 64.
        progress: told after each block.
    """
    progress = progress or Silent()
    progress.start(f"making {scenes} scenes ({name})", scenes)
    vocabulary = scenes_vocabulary()
    questions: list[scene_questions.Planned] = []
    grounding: list[np.ndarray] = []
    pictures: list[dict[str, np.ndarray]] = []
    for block, first in enumerate(range(0, scenes, BLOCK)):
        random = block_random(seed, name, block)
        drawn = sample_scenes(min(BLOCK, scenes - first), random)
        planned = scene_questions.plan_questions(drawn.table, QUESTIONS_PER_SCENE, random)
        arrays = [picture_arrays(drawn.picture(scene), kind) for scene in range(len(drawn))]
        pictures += arrays
        if "boxes" in arrays[0]:
            grounding.append(ground(planned, drawn.table, np.stack([found["boxes"] for found in arrays])))
        questions += [question._replace(scene=first + question.scene) for question in planned]
        progress.step("scenes and questions", len(drawn))
    progress.finish()
    encode = functools.cache(lambda text: vocabulary.encode(text, QUESTION_LENGTH).tokens)
    return Split(
        name=f"{kind}/{name}",
        texts=tuple(question.text for question in questions),
        tokens=np.stack([encode(question.text) for question in questions]),
        answers=np.array([question.answer for question in questions], np.int64),
        types=tuple(question.family for question in questions),
        image_index=np.array([question.scene for question in questions], np.int64),
        images={key: np.stack([arrays[key] for arrays in pictures]) for key in pictures[0]},
        normalisation=NORMALISATION,
        grounding=np.concatenate(grounding) if grounding else None,
    )


def ground(planned: list[scene_questions.Planned], table: scene_questions.Table, boxes: np.ndarray) -> np.ndarray:
    """Which regions the descriptions of the questions of a block fit: uint8 (n, R), see `Split.grounding`.

    Args:
        planned: the questions.
        table: the scenes.
        boxes: float32 (scenes, R, 5) of the regions that were found, row 0 being the whole picture.
    """
    centres = (boxes[:, 1:, :2] + boxes[:, 1:, 2:4]) / 2 * PICTURE_SIDE
    places = np.stack([table.x, table.y], axis=-1)
    distance = np.abs(centres[:, :, None] - places[:, None]).sum(axis=-1)
    # (scenes, regions): the thing that each region shows; padding shows none.
    thing = np.where(table.valid[:, None], distance, np.inf).argmin(axis=-1)
    real = boxes[:, 1:, 4] > 0
    scene = np.array([question.scene for question in planned])
    fits = np.zeros((len(planned), boxes.shape[1]), np.uint8)
    for bit, name in enumerate(("target", "other", "related")):
        things = np.array([getattr(question, name) for question in planned])
        fits[:, 1:] |= (((things[:, None] >> thing[scene]) & 1) & real[scene]).astype(np.uint8) << bit
    return fits


def picture_arrays(picture: np.ndarray, kind: str) -> dict[str, np.ndarray]:
    """What is stored of one picture (128, 128, 3): its regions, or the picture at 64 x 64, channels first."""
    if kind == "scenes-pixels":
        small = Image.fromarray(picture).resize((PIXEL_SIDE, PIXEL_SIDE), Image.Resampling.BOX)
        return {"image": np.asarray(small).transpose(2, 0, 1)}
    found = find_regions(picture)
    return {"regions": found.regions, "boxes": found.boxes, "region_count": np.array(found.count)}


@functools.cache
def scenes_vocabulary() -> Vocabulary:
    """The words of all questions about scenes, without making any."""
    return Vocabulary.build(scene_questions.all_words())


def scenes_dataset(name: str) -> Dataset:
    """The dataset "scenes" (regions) or "scenes-pixels"."""
    sizes = SCENES_PIXELS if name == "scenes-pixels" else SCENES
    picture: dict[str, Any]
    if name == "scenes-pixels":
        picture = {"kind": "pixels", "side": PIXEL_SIDE, "normalisation": NORMALISATION}
    else:
        picture = {
            "kind": "plain-regions",
            "working_side": WORKING_SIDE,
            "regions": REGIONS,
            "features": FEATURES,
            "boxes": BOX_NUMBERS,
        }
    return Dataset(
        name=name,
        version=VERSION,
        seed=SEED,
        vocabulary=scenes_vocabulary(),
        answers=scene_questions.ANSWERS,
        preprocessing={
            "question": {"rule": "openvqa", "length": QUESTION_LENGTH, "synonyms": SYNONYMS},
            "picture": picture,
        },
        card={
            "source": "generated by edgevqa.data.scenes, after CLEVR and Sort-of-CLEVR",
            "generator_version": VERSION,
            "seed": SEED,
            "scenes": dict(sizes),
            "questions_per_scene": QUESTIONS_PER_SCENE,
            "families": list(scene_questions.FAMILIES),
            "answers": list(scene_questions.ANSWERS),
        },
        question_length=QUESTION_LENGTH,
        make_split=lambda split, progress: generate_split(split, sizes[split], SEED, name, progress),
        grounded=name == "scenes",
    )
