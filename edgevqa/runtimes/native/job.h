/* What is to be done: job.json, with the keys of runner.py. */
#ifndef EDGEVQA_JOB_H
#define EDGEVQA_JOB_H

#include <stdbool.h>

#include "json.h"

enum Mode { MODE_LOGITS, MODE_TIME, MODE_PEAK, MODE_PROBE };

struct Job {
  const struct JsonValue *values;
  enum Mode mode;
  int threads;
  const char *runtime;   /* NULL in a probe of no runtime */
  const char *delegate;  /* "cpu" unless the job says otherwise */
  const char *core_mask; /* NULL leaves it to the system */
  bool allow_fallback;   /* whether another delegate than the wanted one may run, which the result then names */
  bool enforce_fp32;     /* whether a GPU is kept from computing in fp16 */
  bool watch;            /* whether another process looks at clock and temperature meanwhile */
  bool markers;          /* whether each timed query stands between two marks for a counter of instructions */
};

/* Ends the process with a failure of kind `job` when the file is no job. */
struct Job read_job(const char *path);

/* A text or a number that the mode needs; its absence is a failure. */
const char *job_text(const struct Job *job, const char *key);
double job_number(const struct Job *job, const char *key);

#endif
