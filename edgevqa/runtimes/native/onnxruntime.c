/*
 * ONNX Runtime through its C API, a table of functions that only ever grows at its end. It is declared here as far as
 * it is used, each function by its place in the table, as in onnxruntime_c_api.h of every release since 1.0.
 */
#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "fail.h"
#include "files.h"
#include "matmul_model.h"

enum { API_VERSION = 16, LOG_ERRORS = 3, SEQUENTIAL = 0, ARENA = 1, DEFAULT_MEMORY = 0, FLOAT32 = 1 };

typedef struct OrtStatus *Status; /* NULL is success */
typedef struct OrtEnv Env;
typedef struct OrtSession Session;
typedef struct OrtSessionOptions Options;
typedef struct OrtValue Value;
typedef struct OrtMemoryInfo MemoryInfo;
typedef struct OrtAllocator Allocator;
typedef struct OrtTypeInfo TypeInfo;
typedef struct OrtTensorTypeAndShapeInfo TensorInfo;

typedef void (*Function)(void);
struct ApiBase {
  const Function *(*get_api)(uint32_t version);
  const char *(*get_version)(void);
};

#define FUNCTIONS(X)                                                                                                 \
  X(2, const char *, GetErrorMessage, (Status))                                                                      \
  X(3, Status, CreateEnv, (int level, const char *name, Env **))                                                     \
  X(6, Status, DisableTelemetryEvents, (const Env *))                                                                \
  X(7, Status, CreateSession, (const Env *, const char *path, const Options *, Session **))                          \
  X(8, Status, CreateSessionFromArray, (const Env *, const void *, size_t, const Options *, Session **))             \
  X(9, Status, Run,                                                                                                  \
    (Session *, const void *options, const char *const *, const Value *const *, size_t, const char *const *, size_t, \
     Value **))                                                                                                      \
  X(10, Status, CreateSessionOptions, (Options **))                                                                  \
  X(13, Status, SetSessionExecutionMode, (Options *, int))                                                           \
  X(22, Status, SetSessionLogSeverityLevel, (Options *, int))                                                        \
  X(24, Status, SetIntraOpNumThreads, (Options *, int))                                                              \
  X(25, Status, SetInterOpNumThreads, (Options *, int))                                                              \
  X(30, Status, SessionGetInputCount, (const Session *, size_t *))                                                   \
  X(31, Status, SessionGetOutputCount, (const Session *, size_t *))                                                  \
  X(33, Status, SessionGetInputTypeInfo, (const Session *, size_t, TypeInfo **))                                     \
  X(36, Status, SessionGetInputName, (const Session *, size_t, Allocator *, char **))                                \
  X(37, Status, SessionGetOutputName, (const Session *, size_t, Allocator *, char **))                               \
  X(49, Status, CreateTensorWithDataAsOrtValue,                                                                      \
    (const MemoryInfo *, void *, size_t, const int64_t *, size_t, int, Value **))                                    \
  X(51, Status, GetTensorMutableData, (Value *, void **))                                                            \
  X(55, Status, CastTypeInfoToTensorInfo, (const TypeInfo *, const TensorInfo **))                                   \
  X(60, Status, GetTensorElementType, (const TensorInfo *, int *))                                                   \
  X(61, Status, GetDimensionsCount, (const TensorInfo *, size_t *))                                                  \
  X(62, Status, GetDimensions, (const TensorInfo *, int64_t *, size_t))                                              \
  X(64, Status, GetTensorShapeElementCount, (const TensorInfo *, size_t *))                                          \
  X(65, Status, GetTensorTypeAndShape, (const Value *, TensorInfo **))                                               \
  X(69, Status, CreateCpuMemoryInfo, (int allocator, int memory, MemoryInfo **))                                     \
  X(78, Status, GetAllocatorWithDefaultOptions, (Allocator **))                                                      \
  X(96, void, ReleaseValue, (Value *))                                                                               \
  X(98, void, ReleaseTypeInfo, (TypeInfo *))                                                                         \
  X(99, void, ReleaseTensorTypeAndShapeInfo, (TensorInfo *))

#define DECLARE(place, result, name, arguments) static result(*name) arguments;
FUNCTIONS(DECLARE)

/* numpy's names of the types, by ONNX's number. */
static const char *const TYPE_NAMES[] = {NULL,    "float32", "uint8", "int8", "uint16",  "int16",
                                         "int32", "int64",   NULL,    "bool", "float16", "float64"};

static const char *(*get_version)(void);
static Env *env;
static Options *options;
static Session *session;
static MemoryInfo *memory;
static int input_count;
static struct {
  char *name;
  int type, rank;
  size_t bytes;
  int64_t shape[LARGEST_RANK];
} inputs[MOST_ARRAYS];
static const char *input_names[MOST_ARRAYS], *output_name;
static char reason[200];
static const char *fell_back;
static float *answer;
static size_t answers;

static void check(Status status, const char *kind, const char *doing) {
  if (status != NULL) fail(kind, "%s: %.600s", doing, GetErrorMessage(status));
}

static bool bind(void *library, const char **lacking) {
  const struct ApiBase *(*get_base)(void);
  *(void **)&get_base = dlsym(library, "OrtGetApiBase");
  *lacking = "OrtGetApiBase";
  if (get_base == NULL) return false;
  const struct ApiBase *base = get_base();
  const Function *table = base->get_api(API_VERSION);
  *lacking = "version 16 of its C API";
  if (table == NULL) return false;
#define BIND(place, result, name, arguments) name = (result(*) arguments)table[place];
  FUNCTIONS(BIND)
  get_version = base->get_version;
  return true;
}

static const char *version(void) { return get_version(); }

static void make_options(int threads) {
  check(CreateEnv(LOG_ERRORS, "edgevqa", &env), "run", "onnxruntime cannot start");
  check(DisableTelemetryEvents(env), "run", "onnxruntime cannot start");
  check(CreateSessionOptions(&options), "run", "onnxruntime cannot start");
  check(SetIntraOpNumThreads(options, threads), "run", "onnxruntime cannot set its threads");
  check(SetInterOpNumThreads(options, 1), "run", "onnxruntime cannot set its threads");
  check(SetSessionExecutionMode(options, SEQUENTIAL), "run", "onnxruntime cannot start");
  check(SetSessionLogSeverityLevel(options, LOG_ERRORS), "run", "onnxruntime cannot start");
  check(CreateCpuMemoryInfo(ARENA, DEFAULT_MEMORY, &memory), "run", "onnxruntime cannot start");
}

static void describe_input(int index, Allocator *allocator, struct Spec *spec) {
  TypeInfo *type;
  const TensorInfo *tensor;
  size_t rank;
  int element;
  const char *doing = "onnxruntime cannot describe an input";
  check(SessionGetInputName(session, (size_t)index, allocator, &inputs[index].name), "model", doing);
  check(SessionGetInputTypeInfo(session, (size_t)index, &type), "model", doing);
  check(CastTypeInfoToTensorInfo(type, &tensor), "model", doing);
  if (tensor == NULL) fail("model", "input '%s' is no tensor", inputs[index].name);
  check(GetTensorElementType(tensor, &element), "model", doing);
  check(GetDimensionsCount(tensor, &rank), "model", doing);
  if (rank > LARGEST_RANK || strlen(inputs[index].name) >= LONGEST_NAME)
    fail("model", "input '%.200s' has too many axes or too long a name", inputs[index].name);
  check(GetDimensions(tensor, spec->shape, rank), "model", doing);
  ReleaseTypeInfo(type);
  const char *name =
      element >= 0 && element < (int)(sizeof TYPE_NAMES / sizeof *TYPE_NAMES) ? TYPE_NAMES[element] : NULL;
  snprintf(spec->name, sizeof spec->name, "%s", inputs[index].name);
  spec->type = name ? find_type(name) : NULL;
  spec->rank = (int)rank;
  inputs[index].type = element;
  input_names[index] = inputs[index].name;
}

static int load(const struct Job *job, const char *model, struct Spec specs[MOST_ARRAYS]) {
  Allocator *allocator;
  size_t count, output_count;
  char doing[600];
  if (strcmp(job->delegate, "cpu") != 0) {
    snprintf(reason, sizeof reason, "onnxruntime is driven on the CPU only, not on '%.100s'", job->delegate);
    if (!job->allow_fallback) fail("delegate", "%s", reason);
    fell_back = reason;
  }
  if (!is_file(model)) fail("model", "the model file %s does not exist", model);
  make_options(job->threads);
  snprintf(doing, sizeof doing, "onnxruntime cannot open %s", model);
  check(CreateSession(env, model, options, &session), "model", doing);
  check(GetAllocatorWithDefaultOptions(&allocator), "run", "onnxruntime has no allocator");
  check(SessionGetInputCount(session, &count), "model", doing);
  check(SessionGetOutputCount(session, &output_count), "model", doing);
  if (count > MOST_ARRAYS || output_count > MOST_ARRAYS) fail("model", "%s has too many inputs or outputs", model);
  input_count = (int)count;
  for (int index = 0; index < input_count; index++) describe_input(index, allocator, &specs[index]);
  char *names[MOST_ARRAYS] = {0};
  for (size_t index = 0; index < output_count; index++)
    check(SessionGetOutputName(session, index, allocator, &names[index]), "model", doing);
  output_name = names[find_logits((int)output_count, (const char *const *)names)];
  return input_count;
}

/* The shape of one question: what the model fixes, and what the questions have elsewhere. */
static void prepare(const struct Array *const arrays[]) {
  for (int index = 0; index < input_count; index++) {
    inputs[index].rank = arrays[index]->rank;
    memcpy(inputs[index].shape, arrays[index]->shape, sizeof inputs[index].shape);
    inputs[index].shape[0] = 1;
    inputs[index].bytes = arrays[index]->row_bytes;
  }
}

static size_t run(char *const rows[], const float **logits) {
  Value *values[MOST_ARRAYS], *output = NULL;
  TensorInfo *info;
  size_t count;
  int type;
  void *data;
  for (int index = 0; index < input_count; index++)
    check(CreateTensorWithDataAsOrtValue(memory, rows[index], inputs[index].bytes, inputs[index].shape,
                                         (size_t)inputs[index].rank, inputs[index].type, &values[index]),
          "run", "onnxruntime cannot take an input");
  check(Run(session, NULL, input_names, (const Value *const *)values, (size_t)input_count, &output_name, 1, &output),
        "run", "inference failed");
  check(GetTensorTypeAndShape(output, &info), "run", "onnxruntime has no answer");
  check(GetTensorShapeElementCount(info, &count), "run", "onnxruntime has no answer");
  check(GetTensorElementType(info, &type), "run", "onnxruntime has no answer");
  check(GetTensorMutableData(output, &data), "run", "onnxruntime has no answer");
  if (type != FLOAT32) fail("model", "the output %s is not float32", output_name);
  if (count > answers) {
    free(answer);
    answer = allocate(count * sizeof *answer);
    answers = count;
  }
  memcpy(answer, data, count * sizeof *answer);
  ReleaseTensorTypeAndShapeInfo(info);
  ReleaseValue(output);
  for (int index = 0; index < input_count; index++) ReleaseValue(values[index]);
  *logits = answer;
  return count;
}

static void facts(struct Facts *found) {
  found->delegate = "CPUExecutionProvider";
  found->fell_back = fell_back;
}

/* The wheels for Linux have the CPU's provider, and this program asks for no other. */
static void delegates(struct Json *out) { json_text(out, NULL, "cpu"); }

static void load_product(int threads, unsigned size) {
  unsigned char model[MATMUL_MODEL_BYTES];
  size_t length = make_matmul_model(size, model);
  make_options(threads);
  check(CreateSessionFromArray(env, model, length, options, &session), "run", "onnxruntime cannot multiply matrices");
  input_names[0] = "a";
  input_names[1] = "b";
  output_name = "logits";
  input_count = 2;
  for (int index = 0; index < input_count; index++) {
    inputs[index].type = FLOAT32;
    inputs[index].rank = 2;
    inputs[index].shape[0] = inputs[index].shape[1] = size;
    inputs[index].bytes = (size_t)size * size * sizeof(float);
  }
}

const struct Backend ONNXRUNTIME = {
    .name = "onnxruntime",
    .package = "onnxruntime",
    .library = "libonnxruntime.so",
    .bind = bind,
    .version = version,
    .load = load,
    .prepare = prepare,
    .run = run,
    .facts = facts,
    .delegates = delegates,
    .load_product = load_product,
};
