#include "tensor.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

static const struct Type TYPES[] = {
    {"float32", 4}, {"int32", 4}, {"int64", 8}, {"float16", 2}, {"float64", 8}, {"bool", 1},
    {"int8", 1},    {"uint8", 1}, {"int16", 2}, {"uint16", 2},  {"uint32", 4},  {"uint64", 8},
};

const struct Type *find_type(const char *name) {
  for (size_t index = 0; index < sizeof TYPES / sizeof *TYPES; index++)
    if (strcmp(name, TYPES[index].name) == 0) return &TYPES[index];
  return NULL;
}

const char *shape_text(int rank, const int64_t *shape, char text[SHAPE_TEXT]) {
  int length = snprintf(text, SHAPE_TEXT, "[");
  for (int axis = 0; axis < rank && length < SHAPE_TEXT; axis++)
    length += snprintf(text + length, (size_t)(SHAPE_TEXT - length), axis ? ", %lld" : "%lld", (long long)shape[axis]);
  if (length < SHAPE_TEXT) snprintf(text + length, (size_t)(SHAPE_TEXT - length), "]");
  return text;
}

/* Whether the axes behind the first one are what a model wants. */
static bool agrees(const struct Spec *spec, int rank, const int64_t *shape) {
  if (rank != spec->rank) return false;
  for (int axis = 1; axis < rank; axis++)
    if (spec->shape[axis] >= 0 && spec->shape[axis] != shape[axis]) return false;
  return true;
}

/* Turns (n, channels, height, width) to (n, height, width, channels). */
static void put_channels_last(struct Array *array, int64_t rows) {
  size_t channels = (size_t)array->shape[1], pixels = (size_t)(array->shape[2] * array->shape[3]);
  size_t bytes = array->type->bytes, row_bytes = array->row_bytes;
  char *turned = allocate((size_t)rows * row_bytes);
  for (size_t row = 0; row < (size_t)rows; row++)
    for (size_t pixel = 0; pixel < pixels; pixel++)
      for (size_t channel = 0; channel < channels; channel++)
        memcpy(turned + row * row_bytes + (pixel * channels + channel) * bytes,
               array->data + row * row_bytes + (channel * pixels + pixel) * bytes, bytes);
  free(array->data);
  array->data = turned;
  int64_t first = array->shape[1];
  array->shape[1] = array->shape[2];
  array->shape[2] = array->shape[3];
  array->shape[3] = first;
}

struct Array *fit(struct Questions *questions, const struct Spec *spec) {
  struct Array *array = NULL;
  for (int index = 0; index < questions->count; index++)
    if (strcmp(questions->arrays[index].name, spec->name) == 0) array = &questions->arrays[index];
  if (array == NULL) {
    char have[512];
    size_t length = 0;
    have[0] = '\0';
    for (int index = 0; index < questions->count && length < sizeof have; index++)
      length +=
          (size_t)snprintf(have + length, sizeof have - length, index ? ", %s" : "%s", questions->arrays[index].name);
    fail("inputs", "the model wants %s; the questions have %s", spec->name, have);
  }
  if (array->type != spec->type)
    fail("inputs", "input '%s' should be %s, the questions have %s", spec->name,
         spec->type ? spec->type->name : "of another type", array->type->name);
  if (agrees(spec, array->rank, array->shape)) return array;
  if (array->rank == 4) {
    int64_t turned[4] = {array->shape[0], array->shape[2], array->shape[3], array->shape[1]};
    if (agrees(spec, 4, turned)) {
      put_channels_last(array, questions->rows);
      return array;
    }
  }
  char wanted[SHAPE_TEXT], found[SHAPE_TEXT];
  int64_t single[LARGEST_RANK];
  memcpy(single, array->shape, sizeof single);
  single[0] = 1;
  fail("inputs", "input '%s' should have the shape %s, the questions have %s", spec->name,
       shape_text(spec->rank, spec->shape, wanted), shape_text(array->rank, single, found));
}
