/* A runtime: a shared library beside this program, opened when a job names it. */
#ifndef EDGEVQA_BACKEND_H
#define EDGEVQA_BACKEND_H

#include <stdbool.h>
#include <stddef.h>

#include "job.h"
#include "tensor.h"

/* What ran; unknown is NULL or below 0. */
struct Facts {
  const char *delegate;
  const char *fell_back;  /* why something else than the whole delegate of the job ran, where it let that happen */
  const char *arithmetic; /* the precision that a GPU was told to compute in */
  int fully_accelerated;
  double coverage_percent;
  int partitions;
};

struct Backend {
  const char *name, *package, *library;

  /* Finds the functions in the open library; false if one is missing, and `*lacking` names it. */
  bool (*bind)(void *library, const char **lacking);

  /* The library's own version, or NULL if it does not say. */
  const char *(*version)(void);

  /* Opens the model; fills `inputs` and returns how many there are. Failures end the process. */
  int (*load)(const struct Job *job, const char *model, struct Spec inputs[MOST_ARRAYS]);

  /* Takes note of the questions that were fitted to the inputs; called once, before any run. */
  void (*prepare)(const struct Array *const arrays[]);

  /* Answers the question whose inputs lie at `rows`: returns how many logits lie at `*logits`, until the next run. */
  size_t (*run)(char *const rows[], const float **logits);

  void (*facts)(struct Facts *facts);

  /* Lists the delegates that the open library was made with; whether there is such a device is another matter. */
  void (*delegates)(struct Json *out);

  /* Loads a product of two square matrices of `size` as a model with inputs a and b; NULL where there is no such thing.
   */
  void (*load_product)(int threads, unsigned size);
};

extern const struct Backend ONNXRUNTIME, LITERT;

/* A backend by the name of its runtime, or NULL. All of them: BACKENDS[0 .. BACKEND_COUNT - 1]. */
enum { BACKEND_COUNT = 2 };
extern const struct Backend *const BACKENDS[BACKEND_COUNT];
const struct Backend *find_backend(const char *runtime);

/* Opens the library, with telemetry off; ends the process with `missing_runtime` when that cannot be done. */
void open_backend(const struct Backend *backend);

/* The version of an open backend: the library's own, else what versions.json beside this program says, or NULL. */
const char *backend_version(const struct Backend *backend);

/* Where this program lies, from the name it was started by. */
void set_program(const char *name);
/* A file beside this program. */
enum { LONGEST_BESIDE = 4096 + 64 };
const char *beside(const char *name, char *path, size_t size);

/* The only output, or the one called logits among `count`; ends the process when there is none. */
int find_logits(int count, const char *const names[]);

#endif
