/*
 * LiteRT through the C API of libLiteRt.so, declared here as far as it is used (ai-edge-litert 2.3: older releases make
 * a model without an environment). On the CPU a compiled model runs in XNNPACK.
 */
#include <dlfcn.h>
#include <glob.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "backend.h"
#include "fail.h"
#include "files.h"
#include "host.h"

enum { ON_CPU = 1, ON_GPU = 2, LOCK_READ = 0, LOCK_WRITE = 1, FLOAT32 = 1, LARGEST_LITERT_RANK = 8 };
/* What the options of its parts are called; each is a text of TOML. */
static const char CPU_OPTIONS[] = "xnnpack", GPU_OPTIONS[] = "gpu_options";
enum { FP32_ONLY = 2 }; /* LiteRtDelegatePrecision */

typedef int Status; /* 0 is success */
typedef struct LiteRtEnvironment *Environment;
typedef struct LiteRtModel *Model;
typedef struct LiteRtOptions *Options;
typedef struct LiteRtOpaqueOptions *OpaqueOptions;
typedef struct LiteRtCompiledModel *CompiledModel;
typedef struct LiteRtSignature *Signature;
typedef struct LiteRtTensor *Tensor;
typedef struct LiteRtTensorBuffer *Buffer;
typedef struct LiteRtTensorBufferRequirements *Requirements;

struct RankedType {
  int element;
  unsigned int rank : 7;
  unsigned int has_strides : 1;
  int32_t dimensions[LARGEST_LITERT_RANK];
  uint32_t strides[LARGEST_LITERT_RANK];
};
_Static_assert(sizeof(struct RankedType) == 72, "LiteRtRankedTensorType has 72 bytes");

#define FUNCTIONS(X)                                                                                             \
  X(CreateEnvironment, (int count, const void *options, Environment *))                                          \
  X(CreateModelFromFile, (Environment, const char *path, Model *))                                               \
  X(CreateOptions, (Options *))                                                                                  \
  X(SetOptionsHardwareAccelerators, (Options, int accelerators))                                                 \
  X(CreateOpaqueOptions, (const char *name, void *content, void (*release)(void *), OpaqueOptions *))            \
  X(AddOpaqueOptions, (Options, OpaqueOptions))                                                                  \
  X(CreateCompiledModel, (Environment, Model, Options, CompiledModel *))                                         \
  X(CompiledModelIsFullyAccelerated, (CompiledModel, bool *))                                                    \
  X(GetModelSignature, (Model, size_t index, Signature *))                                                       \
  X(GetNumSignatureInputs, (Signature, size_t *))                                                                \
  X(GetNumSignatureOutputs, (Signature, size_t *))                                                               \
  X(GetSignatureInputName, (Signature, size_t index, const char **))                                             \
  X(GetSignatureOutputName, (Signature, size_t index, const char **))                                            \
  X(GetSignatureInputTensorByIndex, (Signature, size_t index, Tensor *))                                         \
  X(GetSignatureOutputTensorByIndex, (Signature, size_t index, Tensor *))                                        \
  X(GetRankedTensorType, (Tensor, struct RankedType *))                                                          \
  X(GetCompiledModelInputBufferRequirements, (CompiledModel, size_t signature, size_t index, Requirements *))    \
  X(GetCompiledModelOutputBufferRequirements, (CompiledModel, size_t signature, size_t index, Requirements *))   \
  X(CreateManagedTensorBufferFromRequirements, (Environment, const struct RankedType *, Requirements, Buffer *)) \
  X(GetTensorBufferPackedSize, (Buffer, size_t *))                                                               \
  X(LockTensorBuffer, (Buffer, void **, int mode))                                                               \
  X(UnlockTensorBuffer, (Buffer))                                                                                \
  X(RunCompiledModel, (CompiledModel, size_t signature, size_t, Buffer *, size_t, Buffer *))

#define DECLARE(name, arguments) static Status(*name) arguments;
FUNCTIONS(DECLARE)

/* numpy's names of the types, by TFLite's number. */
static const char *const TYPE_NAMES[] = {NULL,   "float32", "int32", "uint8", "int64",   NULL,
                                         "bool", "int16",   NULL,    "int8",  "float16", "float64"};

static Environment environment;
static Model model;
static CompiledModel compiled;
static bool on_gpu, fp32_only, fully_accelerated;
static const char *fell_back;
static int input_count, output_count, output;
static Buffer inputs[MOST_ARRAYS], outputs[MOST_ARRAYS];
static size_t sizes[MOST_ARRAYS];
static float *answer;
static size_t answers;

static void check(Status status, const char *kind, const char *doing) {
  if (status != 0) fail(kind, "litert %s: status %d", doing, status);
}

static bool bind(void *library, const char **lacking) {
#define BIND(name, arguments)                 \
  *lacking = "LiteRt" #name;                  \
  *(void **)&name = dlsym(library, *lacking); \
  if (name == NULL) return false;
  FUNCTIONS(BIND)
  return true;
}

static const char *version(void) { return NULL; } /* it does not say */

static void add_option(Options options, const char *part, const char *name, int value) {
  OpaqueOptions added;
  char *text = allocate(64);
  snprintf(text, 64, "%s = %d\n", name, value);
  check(CreateOpaqueOptions(part, text, free, &added), "run", "cannot take its options");
  check(AddOpaqueOptions(options, added), "run", "cannot take its options");
}

static Status compile(int accelerators, const struct Job *job) {
  Options options;
  check(CreateOptions(&options), "run", "cannot start");
  check(SetOptionsHardwareAccelerators(options, accelerators), "delegate", "cannot choose what it runs on");
  add_option(options, CPU_OPTIONS, "num_threads", job->threads);
  if ((accelerators & ON_GPU) && job->enforce_fp32) add_option(options, GPU_OPTIONS, "precision", FP32_ONLY);
  return CreateCompiledModel(environment, model, options, &compiled);
}

/* Compiles for the CPU, and looks whether it really started as many threads as it should. */
static void compile_for_cpu(const char *path, const struct Job *job) {
  char doing[600];
  int before = thread_count();
  snprintf(doing, sizeof doing, "cannot compile %s", path);
  check(compile(ON_CPU, job), "model", doing);
  int started = thread_count() - before;
  bool steady = before > 0 && fell_back == NULL; /* threads of a GPU that was tried before may still be ending */
  if (steady && started != job->threads - 1)
    fail("run", "litert was told to use %d threads, and uses %d", job->threads, started + 1);
}

static void compile_for_gpu(const char *path, const struct Job *job) {
  static char reason[600];
  bool full = false;
  Status status = compile(ON_GPU, job);
  if (status == 0) check(CompiledModelIsFullyAccelerated(compiled, &full), "run", "does not say what it runs on");
  on_gpu = status == 0;
  fp32_only = on_gpu && job->enforce_fp32;
  if (full) return;
  if (status != 0)
    snprintf(reason, sizeof reason, "litert cannot compile %.400s for the GPU: status %d", path, status);
  else
    snprintf(reason, sizeof reason, "a part of %.400s would run on the CPU", path);
  if (!job->allow_fallback) fail("delegate", "%s", reason);
  fell_back = reason;
  if (on_gpu)
    check(compile(ON_GPU | ON_CPU, job), "delegate", "cannot share a model between GPU and CPU");
  else
    compile_for_cpu(path, job);
}

static Buffer make_buffer(const struct RankedType *type, Requirements requirements, size_t *bytes) {
  Buffer buffer;
  check(CreateManagedTensorBufferFromRequirements(environment, type, requirements, &buffer), "run", "has no memory");
  check(GetTensorBufferPackedSize(buffer, bytes), "run", "does not say how large a tensor is");
  return buffer;
}

static void describe_input(Signature signature, int index, struct Spec *spec) {
  const char *name, *doing = "cannot describe an input";
  Tensor tensor;
  struct RankedType type;
  Requirements requirements;
  check(GetSignatureInputName(signature, (size_t)index, &name), "model", doing);
  check(GetSignatureInputTensorByIndex(signature, (size_t)index, &tensor), "model", doing);
  check(GetRankedTensorType(tensor, &type), "model", doing);
  if (type.rank > LARGEST_RANK || strlen(name) >= LONGEST_NAME)
    fail("model", "input '%.200s' has too many axes or too long a name", name);
  const char *known = type.element >= 0 && type.element < (int)(sizeof TYPE_NAMES / sizeof *TYPE_NAMES)
                          ? TYPE_NAMES[type.element]
                          : NULL;
  snprintf(spec->name, sizeof spec->name, "%s", name);
  spec->type = known ? find_type(known) : NULL;
  spec->rank = (int)type.rank;
  for (int axis = 0; axis < spec->rank; axis++) {
    if (type.dimensions[axis] < 0) fail("model", "input '%s' has no fixed shape", name);
    spec->shape[axis] = type.dimensions[axis];
  }
  check(GetCompiledModelInputBufferRequirements(compiled, 0, (size_t)index, &requirements), "model", doing);
  inputs[index] = make_buffer(&type, requirements, &sizes[index]);
}

static const char *make_output(Signature signature, int index) {
  const char *name, *doing = "cannot describe an output";
  Tensor tensor;
  struct RankedType type;
  Requirements requirements;
  size_t bytes;
  check(GetSignatureOutputName(signature, (size_t)index, &name), "model", doing);
  check(GetSignatureOutputTensorByIndex(signature, (size_t)index, &tensor), "model", doing);
  check(GetRankedTensorType(tensor, &type), "model", doing);
  check(GetCompiledModelOutputBufferRequirements(compiled, 0, (size_t)index, &requirements), "model", doing);
  outputs[index] = make_buffer(&type, requirements, &bytes);
  if (type.element != FLOAT32) name = NULL;
  if (name != NULL && bytes / sizeof(float) > answers) answers = bytes / sizeof(float);
  return name;
}

static int load(const struct Job *job, const char *path, struct Spec specs[MOST_ARRAYS]) {
  char doing[600];
  Signature signature;
  size_t count;
  const char *names[MOST_ARRAYS];
  bool gpu = strcmp(job->delegate, "gpu") == 0;
  if (!gpu && strcmp(job->delegate, "cpu") != 0)
    fail("delegate", "litert is driven on the CPU or the GPU, not on '%s'", job->delegate);
  if (!is_file(path)) fail("model", "the model file %s does not exist", path);
  check(CreateEnvironment(0, NULL, &environment), "run", "cannot start");
  snprintf(doing, sizeof doing, "cannot open %s", path);
  check(CreateModelFromFile(environment, path, &model), "model", doing);
  if (gpu)
    compile_for_gpu(path, job);
  else
    compile_for_cpu(path, job);
  check(CompiledModelIsFullyAccelerated(compiled, &fully_accelerated), "run", "does not say what it runs on");

  check(GetModelSignature(model, 0, &signature), "model", "finds no signature");
  check(GetNumSignatureInputs(signature, &count), "model", "finds no inputs");
  if (count > MOST_ARRAYS) fail("model", "%s has too many inputs", path);
  input_count = (int)count;
  check(GetNumSignatureOutputs(signature, &count), "model", "finds no outputs");
  if (count > MOST_ARRAYS) fail("model", "%s has too many outputs", path);
  output_count = (int)count;
  for (int index = 0; index < input_count; index++) describe_input(signature, index, &specs[index]);
  for (int index = 0; index < output_count; index++) names[index] = make_output(signature, index);
  output = find_logits(output_count, names);
  if (names[output] == NULL) fail("model", "the output of %s is not float32", path);
  answer = allocate(answers * sizeof *answer);
  return input_count;
}

static void prepare(const struct Array *const arrays[]) {
  for (int index = 0; index < input_count; index++)
    if (arrays[index]->row_bytes != sizes[index])
      fail("inputs", "input '%s' should have %zu bytes, a question has %zu", arrays[index]->name, sizes[index],
           arrays[index]->row_bytes);
}

static size_t run(char *const rows[], const float **logits) {
  void *memory;
  size_t bytes;
  for (int index = 0; index < input_count; index++) {
    check(LockTensorBuffer(inputs[index], &memory, LOCK_WRITE), "run", "cannot take an input");
    memcpy(memory, rows[index], sizes[index]);
    check(UnlockTensorBuffer(inputs[index]), "run", "cannot take an input");
  }
  check(RunCompiledModel(compiled, 0, (size_t)input_count, inputs, (size_t)output_count, outputs), "run",
        "inference failed");
  check(GetTensorBufferPackedSize(outputs[output], &bytes), "run", "has no answer");
  check(LockTensorBuffer(outputs[output], &memory, LOCK_READ), "run", "has no answer");
  memcpy(answer, memory, bytes);
  check(UnlockTensorBuffer(outputs[output]), "run", "has no answer");
  *logits = answer;
  return bytes / sizeof *answer;
}

/* Its C API says whether all operators were taken over, and not how many were, or in how many pieces. */
static void facts(struct Facts *found) {
  found->delegate = on_gpu ? "GPU" : "XNNPACK";
  found->fell_back = fell_back;
  found->arithmetic = fp32_only ? "fp32" : NULL;
  found->fully_accelerated = fully_accelerated;
  if (fully_accelerated) found->coverage_percent = 100;
}

/* The accelerator is a library of its own, called by what it drives the GPU with: WebGPU, OpenCL. */
static void delegates(struct Json *out) {
  char pattern[LONGEST_BESIDE];
  glob_t found;
  json_text(out, NULL, "cpu");
  if (glob(beside("libLiteRt*GpuAccelerator.so", pattern, sizeof pattern), 0, NULL, &found) != 0) return;
  json_text(out, NULL, "gpu");
  globfree(&found);
}

const struct Backend LITERT = {
    .name = "litert",
    .package = "ai-edge-litert",
    .library = "libLiteRt.so",
    .bind = bind,
    .version = version,
    .load = load,
    .prepare = prepare,
    .run = run,
    .facts = facts,
    .delegates = delegates,
};
