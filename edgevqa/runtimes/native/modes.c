#include "modes.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>

#include "backend.h"
#include "fail.h"
#include "host.h"
#include "npy.h"
#include "npz.h"
#include "watch.h"

/* An emulator that counts instructions takes getpriority(MARK, ...) for a mark; a kernel just refuses it. */
enum { MARK_BEGIN = 0, MARK_END = 1, MARK = 12345, FIRST_SAMPLES = 4096 };
enum { MATRIX_SIZE = 1024, MATRIX_NS = 500 * 1000 * 1000 };

/* A model with its questions, and what loading it cost. */
struct Loaded {
  const struct Backend *backend;
  struct Questions questions;
  int inputs;
  const struct Array *arrays[MOST_ARRAYS];
  double import_ms, load_ms, first_ms, baseline_mb;
  size_t answers;
  const float *logits;
};

static int64_t now_ns(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static double ms_since(int64_t start) { return (double)(now_ns() - start) / 1e6; }

static size_t answer(struct Loaded *loaded, int64_t row) {
  char *rows[MOST_ARRAYS];
  for (int index = 0; index < loaded->inputs; index++)
    rows[index] = loaded->arrays[index]->data + (size_t)row * loaded->arrays[index]->row_bytes;
  return loaded->backend->run(rows, &loaded->logits);
}

static void load(const struct Job *job, struct Loaded *loaded) {
  static struct Spec specs[MOST_ARRAYS];
  loaded->backend = find_backend(job->runtime);
  const char *inputs = job_text(job, "inputs"), *model = job_text(job, "model");
  int64_t start = now_ns();
  open_backend(loaded->backend);
  loaded->import_ms = ms_since(start);
  read_questions(inputs, &loaded->questions);
  forget_peak();
  loaded->baseline_mb = memory_mb("VmRSS");
  start = now_ns();
  loaded->inputs = loaded->backend->load(job, model, specs);
  loaded->load_ms = ms_since(start);
  for (int index = 0; index < loaded->inputs; index++) loaded->arrays[index] = fit(&loaded->questions, &specs[index]);
  loaded->backend->prepare(loaded->arrays);
  start = now_ns();
  loaded->answers = answer(loaded, 0);
  loaded->first_ms = ms_since(start);
}

static void report(const struct Job *job, const struct Loaded *loaded, struct Json *out) {
  struct Facts facts = {.fully_accelerated = -1, .coverage_percent = NAN, .partitions = -1};
  struct utsname system;
  double peak = memory_mb("VmHWM");
  const char *version = backend_version(loaded->backend);
  loaded->backend->facts(&facts);
  uname(&system);
  json_text(out, "runtime", loaded->backend->name);
  json_text(out, "runtime_version", version ? version : "unknown");
  json_integer(out, "threads", job->threads);
  json_number(out, "import_ms", loaded->import_ms);
  json_number(out, "load_ms", loaded->load_ms);
  json_number(out, "first_inference_ms", loaded->first_ms);
  json_number(out, "baseline_rss_mb", loaded->baseline_mb);
  json_text(out, "fell_back", facts.fell_back);
  json_text(out, "delegate", facts.delegate);
  if (facts.fully_accelerated < 0)
    json_null(out, "fully_accelerated");
  else
    json_flag(out, "fully_accelerated", facts.fully_accelerated);
  json_number(out, "coverage_percent", facts.coverage_percent);
  if (facts.partitions < 0)
    json_null(out, "partitions");
  else
    json_integer(out, "partitions", facts.partitions);
  json_null(out, "adapter"); /* a GPU's name is told by logs alone */
  json_text(out, "arithmetic", facts.arithmetic);
  json_number(out, "peak_rss_mb", peak);
  json_number(out, "model_rss_mb", peak - loaded->baseline_mb);
  json_null(out, "python");
  json_null(out, "numpy");
  json_text(out, "machine", system.machine);
}

/* Mode `logits`: every question once; writes (n, answers) as float32. */
static void run_logits(const struct Job *job, struct Json *out) {
  static struct Loaded loaded;
  const char *path = job_text(job, "output");
  load(job, &loaded);
  size_t count = (size_t)loaded.questions.rows, row_bytes = loaded.answers * sizeof(float);
  if (loaded.answers > 0 && count > SIZE_MAX / row_bytes) fail("run", "the memory of this device does not suffice");
  float *logits = allocate(count * row_bytes);
  for (size_t row = 0; row < count; row++) {
    if (answer(&loaded, (int64_t)row) != loaded.answers)
      fail("run", "the answer to question %zu has another size", row);
    memcpy(logits + row * loaded.answers, loaded.logits, row_bytes);
  }
  const int64_t shape[2] = {loaded.questions.rows, (int64_t)loaded.answers};
  write_npy(path, "<f4", 2, shape, logits, count * row_bytes);
  report(job, &loaded, out);
  json_integer(out, "n", loaded.questions.rows);
}

/* The nanoseconds of every inference; grows by pages, so that a long run does not show in the memory. */
struct Samples {
  int64_t *values;
  size_t count, capacity;
};

static void add_sample(struct Samples *samples, int64_t value) {
  if (samples->count == samples->capacity) {
    samples->capacity = samples->capacity ? 2 * samples->capacity : FIRST_SAMPLES;
    samples->values = realloc(samples->values, samples->capacity * sizeof *samples->values);
    if (samples->values == NULL) fail("run", "the memory of this device does not suffice");
  }
  samples->values[samples->count++] = value;
}

static void mark(const struct Job *job, int which) {
  if (job->markers) syscall(SYS_getpriority, MARK, which);
}

/* Mode `time`: one query after another, each from the inputs as arrays to the logits as an array. */
static void run_time(const struct Job *job, struct Json *out) {
  static struct Loaded loaded;
  struct Samples samples = {0};
  struct HostState before, after;
  const char *path = job_text(job, "samples");
  double warmup_queries = job_number(job, "warmup_queries"), warmup_seconds = job_number(job, "warmup_seconds");
  double queries = job_number(job, "minimum_queries"), shortest = job_number(job, "minimum_seconds") * 1e9;
  double longest = job_number(job, "maximum_seconds") * 1e9;
  struct Watch watch = {0};
  if (job->watch) prepare_watch(&watch, job->threads);
  load(job, &loaded);
  int64_t rows = loaded.questions.rows, done = 0, start = now_ns();
  while ((double)done < warmup_queries || (double)(now_ns() - start) < warmup_seconds * 1e9)
    answer(&loaded, done++ % rows);
  begin_watch(&watch);
  read_host(&before);
  int64_t began = now_ns(), now = began;
  while (((double)samples.count < queries || (double)(now - began) < shortest) && (double)(now - began) < longest) {
    int64_t row = (int64_t)samples.count % rows;
    mark(job, MARK_BEGIN);
    start = now_ns();
    answer(&loaded, row);
    now = now_ns();
    mark(job, MARK_END);
    add_sample(&samples, now - start);
  }
  read_host(&after);
  const int64_t shape[1] = {(int64_t)samples.count};
  write_npy(path, "<i8", 1, shape, samples.values, samples.count * sizeof *samples.values);
  report(job, &loaded, out);
  json_integer(out, "n", (long long)samples.count);
  json_integer(out, "loop_started_ns", began);
  json_integer(out, "loop_ended_ns", now);
  end_watch(&watch, out, "watched");
  write_host(out, "host_before", &before);
  write_host(out, "host_after", &after);
}

/*
 * Mode `peak`: the best of many fp32 products of two square matrices, in GFLOP/s; ONNX Runtime multiplies them,
 * whatever runtime the job names, for there is no numpy here.
 */
static void run_peak(const struct Job *job, struct Json *out) {
  const size_t elements = (size_t)MATRIX_SIZE * MATRIX_SIZE;
  float *matrix = allocate(elements * sizeof *matrix);
  char *rows[2] = {(char *)matrix, (char *)matrix};
  const float *product;
  double best = INFINITY;
  for (size_t index = 0; index < elements; index++) matrix[index] = (float)(index % 251) / 251;
  open_backend(&ONNXRUNTIME);
  ONNXRUNTIME.load_product(job->threads, MATRIX_SIZE);
  ONNXRUNTIME.run(rows, &product);
  int64_t stop = now_ns() + MATRIX_NS;
  while (now_ns() < stop) {
    int64_t start = now_ns();
    ONNXRUNTIME.run(rows, &product);
    best = fmin(best, (double)(now_ns() - start));
  }
  json_number(out, "gflops", 2 * pow(MATRIX_SIZE, 3) / best);
  json_integer(out, "threads", job->threads);
  json_null(out, "numpy");
}

/* Mode `probe`: what this machine is; a runtime that the job names is really opened. */
static void run_probe(const struct Job *job, struct Json *out) {
  struct HostState state;
  if (job->runtime != NULL) open_backend(find_backend(job->runtime));
  write_machine(out);
  json_open(out, "runtimes", '{');
  for (int index = 0; index < BACKEND_COUNT; index++) {
    bool named = job->runtime != NULL && strcmp(job->runtime, BACKENDS[index]->name) == 0;
    const char *version = named ? backend_version(BACKENDS[index]) : NULL;
    json_text(out, BACKENDS[index]->name, named && version == NULL ? "unknown" : version);
  }
  json_null(out, "tflite_runtime");
  json_close(out, '}');
  read_host(&state);
  write_host(out, "host", &state);
  if (job->runtime == NULL) return;
  json_open(out, "delegates", '[');
  find_backend(job->runtime)->delegates(out);
  json_close(out, ']');
}

void run_mode(const struct Job *job, struct Json *out) {
  switch (job->mode) {
    case MODE_LOGITS: run_logits(job, out); break;
    case MODE_TIME: run_time(job, out); break;
    case MODE_PEAK: run_peak(job, out); break;
    case MODE_PROBE: run_probe(job, out); break;
  }
}
