/* Arrays: what a model wants, and what the questions have. */
#ifndef EDGEVQA_TENSOR_H
#define EDGEVQA_TENSOR_H

#include <stddef.h>
#include <stdint.h>

enum { LARGEST_RANK = 8, LONGEST_NAME = 128, MOST_ARRAYS = 32, SHAPE_TEXT = 256 };

struct Type {
  const char *name; /* as numpy calls it: float32, int64, ... */
  size_t bytes;
};

/* An input of a model. An axis below 0 may have any size. */
struct Spec {
  char name[LONGEST_NAME];
  const struct Type *type; /* NULL is one that we do not know */
  int rank;
  int64_t shape[LARGEST_RANK];
};

/* Stacked questions: the first axis counts them. `data` is aligned for any type. */
struct Array {
  char name[LONGEST_NAME];
  const struct Type *type;
  int rank;
  int64_t shape[LARGEST_RANK];
  size_t row_bytes;
  char *data;
};

struct Questions {
  int count; /* how many arrays */
  int64_t rows;
  struct Array arrays[MOST_ARRAYS];
};

/* A type by numpy's name, or NULL. */
const struct Type *find_type(const char *name);

/* A shape as text for people: [1, 14]. */
const char *shape_text(int rank, const int64_t *shape, char text[SHAPE_TEXT]);

/*
 * The array of the questions for an input. A picture that was stacked as NCHW is turned to NHWC if the model wants
 * that. Ends the process with a failure of kind `inputs` when it is missing, or has another type or shape.
 */
struct Array *fit(struct Questions *questions, const struct Spec *spec);

#endif
