#include "backend.h"

#include <dlfcn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "files.h"

enum { LONGEST_PATH = 4096, LARGEST_VERSIONS = 4096 };

const struct Backend *const BACKENDS[BACKEND_COUNT] = {&ONNXRUNTIME, &LITERT};

static char folder[LONGEST_PATH] = ".";

const struct Backend *find_backend(const char *runtime) {
  for (int index = 0; index < BACKEND_COUNT; index++)
    if (strcmp(runtime, BACKENDS[index]->name) == 0) return BACKENDS[index];
  return NULL;
}

void set_program(const char *name) {
  const char *slash = strrchr(name, '/');
  if (slash != NULL && (size_t)(slash - name) < sizeof folder - 1)
    snprintf(folder, sizeof folder, "%.*s", slash == name ? 1 : (int)(slash - name), name);
}

const char *beside(const char *name, char *path, size_t size) {
  snprintf(path, size, "%s/%s", folder, name);
  return path;
}

void open_backend(const struct Backend *backend) {
  char path[LONGEST_BESIDE];
  const char *lacking = NULL;
  setenv("ORT_DISABLE_TELEMETRY", "1", 1); /* ONNX Runtime 1.29 and later send some, unless it is set by now */
  void *library = dlopen(beside(backend->library, path, sizeof path), RTLD_NOW | RTLD_LOCAL);
  if (library == NULL) fail("missing_runtime", "%s cannot be opened here: %s", backend->package, dlerror());
  if (!backend->bind(library, &lacking))
    fail("missing_runtime", "%s in %s is another version: it lacks %s", backend->package, path, lacking);
}

const char *backend_version(const struct Backend *backend) {
  char path[LONGEST_BESIDE];
  size_t length;
  const char *reason, *own = backend->version();
  if (own != NULL) return own;
  char *text = read_file(beside("versions.json", path, sizeof path), LARGEST_VERSIONS, &length);
  const struct JsonValue *found = text ? json_find(json_read(text, length, &reason), backend->name) : NULL;
  return found != NULL && found->kind == JSON_STRING ? found->text : NULL;
}

int find_logits(int count, const char *const names[]) {
  for (int index = 0; index < count; index++)
    if (names[index] != NULL && strcmp(names[index], "logits") == 0) return index;
  if (count == 1) return 0;
  fail("model", "no output called logits among %d", count);
}
