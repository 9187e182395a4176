#!/usr/bin/env bash
# A longer self-distillation of the bundled models. NOT RUN YET: the bundled checkpoints come from the presets' runs.
# It is for the narrow submodels, which are behind the same ones trained alone (distilled_versus_alone.py): there,
# 4,500 steps are 1,700 to 4,500 for each. About four hours for scenes and two for easy-vqa on a CPU core, less on a
# GPU (--device auto finds it). Each run goes on where it was stopped.
set -euo pipefail
edgevqa train scenes --student-steps 20000 --out runs/scenes "$@"
edgevqa train easy-vqa --student-steps 12000 --out runs/easy-vqa "$@"
