#include "job.h"

#include <errno.h>
#include <math.h>
#include <string.h>

#include "backend.h"
#include "fail.h"
#include "files.h"

enum { LARGEST_JOB = 1 << 20, MOST_THREADS = 1024 };

static const char *const MODES[] = {"logits", "time", "peak", "probe"};

static const char *optional_text(const struct Job *job, const char *path, const char *key) {
  const struct JsonValue *found = json_find(job->values, key);
  if (found == NULL || found->kind == JSON_NULL) return NULL;
  if (found->kind != JSON_STRING) fail("job", "the job %s is not usable: %s should be a text", path, key);
  return found->text;
}

static bool optional_flag(const struct Job *job, const char *key) {
  const struct JsonValue *found = json_find(job->values, key);
  return found != NULL && found->kind == JSON_TRUE;
}

struct Job read_job(const char *path) {
  size_t length;
  const char *reason, *mode;
  char *text = read_file(path, LARGEST_JOB, &length);
  if (text == NULL) fail("job", "the job %s is not usable: %s", path, strerror(errno));
  struct Job job = {.values = json_read(text, length, &reason), .threads = 1};
  if (job.values == NULL) fail("job", "the job %s is not usable: %s", path, reason);
  if (job.values->kind != JSON_OBJECT) fail("job", "the job %s is not usable: it is no object", path);

  mode = optional_text(&job, path, "mode");
  if (mode == NULL) fail("job", "the job %s is not usable: it names no mode", path);
  while (job.mode <= MODE_PROBE && strcmp(mode, MODES[job.mode]) != 0) job.mode++;
  if (job.mode > MODE_PROBE) fail("job", "the job %s is not usable: no mode is called '%s'", path, mode);

  const struct JsonValue *threads = json_find(job.values, "threads");
  if (threads != NULL && threads->kind != JSON_NULL) {
    if (threads->kind != JSON_NUMBER || threads->number != floor(threads->number))
      fail("job", "the job %s is not usable: threads should be a whole number", path);
    if (threads->number < 1 || threads->number > MOST_THREADS)
      fail("job", "threads should be at least 1 and at most %d, not %g", MOST_THREADS, threads->number);
    job.threads = (int)threads->number;
  }
  job.runtime = optional_text(&job, path, "runtime");
  job.delegate = optional_text(&job, path, "delegate");
  if (job.delegate == NULL) job.delegate = "cpu";
  job.core_mask = optional_text(&job, path, "core_mask");
  job.allow_fallback = optional_flag(&job, "allow_fallback");
  job.enforce_fp32 = optional_flag(&job, "enforce_fp32");
  job.watch = optional_flag(&job, "watch");
  job.markers = optional_flag(&job, "markers");
  if (job.runtime == NULL && (job.mode == MODE_LOGITS || job.mode == MODE_TIME)) fail("job", "the job lacks 'runtime'");
  if (job.runtime != NULL && find_backend(job.runtime) == NULL) {
    if (strcmp(job.runtime, "tflite_runtime") == 0)
      fail("job", "tflite-runtime needs Python; without it, litert opens the same files");
    fail("job", "no such runtime: '%s'", job.runtime);
  }
  return job;
}

const char *job_text(const struct Job *job, const char *key) {
  const struct JsonValue *found = json_find(job->values, key);
  if (found == NULL || found->kind != JSON_STRING) fail("job", "the job lacks '%s'", key);
  return found->text;
}

double job_number(const struct Job *job, const char *key) {
  const struct JsonValue *found = json_find(job->values, key);
  if (found == NULL || found->kind != JSON_NUMBER) fail("job", "the job lacks '%s'", key);
  return found->number;
}
