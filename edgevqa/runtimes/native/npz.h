/* Many arrays in one file, as numpy's savez writes them. */
#ifndef EDGEVQA_NPZ_H
#define EDGEVQA_NPZ_H

#include "tensor.h"

/*
 * Reads the stacked inputs of a questions.npz whose members are stored, not compressed; labels, texts and worth are
 * left out. Every size in the file is checked against what is really there before memory is taken for it. Ends the
 * process with a failure of kind `inputs` when the file is anything else.
 */
void read_questions(const char *path, struct Questions *questions);

#endif
