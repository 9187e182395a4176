"""Training: a teacher on the answers, then self-distillation of all submodels with the sandwich rule."""
