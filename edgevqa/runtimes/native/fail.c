#include "fail.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "json.h"

enum { LONGEST_LINE = 2000 };

_Noreturn void leave(int code) {
  fflush(stdout);
  fflush(stderr);
  _exit(code);
}

_Noreturn void fail(const char *kind, const char *format, ...) {
  char text[LONGEST_LINE];
  va_list arguments;
  va_start(arguments, format);
  vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  struct Json out = {0};
  json_open(&out, NULL, '{');
  json_flag(&out, "ok", false);
  json_text(&out, "error", text);
  json_text(&out, "kind", kind);
  json_close(&out, '}');
  json_print_result(&out);
  leave(3);
}

void *allocate(size_t bytes) {
  void *found = malloc(bytes ? bytes : 1);
  if (found == NULL) {
    fputs(
        "\nEDGEVQA-RESULT {\"ok\": false, \"error\": \"the memory of this device does not suffice\", "
        "\"kind\": \"run\"}\n",
        stdout);
    leave(3);
  }
  return found;
}
