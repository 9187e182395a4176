/* One array in numpy's format: version 1 to 3 is read, version 1 is written. */
#ifndef EDGEVQA_NPY_H
#define EDGEVQA_NPY_H

#include <stddef.h>

#include "tensor.h"

/* Copies an array out of the bytes of a file into aligned memory; returns what is wrong, or NULL. Keeps `array->name`.
 */
const char *read_npy(const unsigned char *bytes, size_t length, struct Array *array);

/* Writes an array in C order; ends the process with a failure of kind `write`. `descr` is numpy's type, such as <f4. */
void write_npy(const char *path, const char *descr, int rank, const int64_t *shape, const void *data, size_t bytes);

#endif
