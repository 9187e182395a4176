#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "json.h"

enum { FIRST_CAPACITY = 1024 };

static void append(struct Json *out, const char *bytes, size_t count) {
  while (out->length + count + 1 > out->capacity) {
    size_t capacity = out->capacity ? 2 * out->capacity : FIRST_CAPACITY;
    char *larger = allocate(capacity);
    if (out->length > 0) memcpy(larger, out->text, out->length);
    free(out->text);
    out->text = larger;
    out->capacity = capacity;
  }
  memcpy(out->text + out->length, bytes, count);
  out->length += count;
  out->text[out->length] = '\0';
}

static void print(struct Json *out, const char *format, ...) {
  char text[64];
  va_list arguments;
  va_start(arguments, format);
  int length = vsnprintf(text, sizeof text, format, arguments);
  va_end(arguments);
  append(out, text, (size_t)length);
}

/* The bytes of the UTF-8 character at `text`, or 0 if it is none. */
static size_t character(const unsigned char *text) {
  size_t length = text[0] < 0x80   ? 1
                  : text[0] < 0xC2 ? 0
                  : text[0] < 0xE0 ? 2
                  : text[0] < 0xF0 ? 3
                  : text[0] < 0xF5 ? 4
                                   : 0;
  for (size_t index = 1; index < length; index++)
    if ((text[index] & 0xC0) != 0x80) return 0;
  if (length == 3 && ((text[0] == 0xE0 && text[1] < 0xA0) || (text[0] == 0xED && text[1] > 0x9F))) return 0;
  if (length == 4 && ((text[0] == 0xF0 && text[1] < 0x90) || (text[0] == 0xF4 && text[1] > 0x8F))) return 0;
  return length;
}

static void quote(struct Json *out, const char *value) {
  append(out, "\"", 1);
  for (const unsigned char *at = (const unsigned char *)value; *at != '\0';) {
    size_t length = character(at);
    if (length == 0) {
      append(out, "?", 1);
      at++;
    } else if (*at == '"' || *at == '\\') {
      print(out, "\\%c", *at++);
    } else if (*at < 0x20) {
      print(out, "\\u%04x", *at++);
    } else {
      append(out, (const char *)at, length);
      at += length;
    }
  }
  append(out, "\"", 1);
}

static void begin(struct Json *out, const char *key) {
  if (out->comma) append(out, ", ", 2);
  out->comma = true;
  if (key != NULL) {
    quote(out, key);
    append(out, ": ", 2);
  }
}

void json_open(struct Json *out, const char *key, char bracket) {
  begin(out, key);
  append(out, &bracket, 1);
  out->comma = false;
}

void json_close(struct Json *out, char bracket) {
  append(out, &bracket, 1);
  out->comma = true;
}

void json_null(struct Json *out, const char *key) {
  begin(out, key);
  append(out, "null", 4);
}

void json_flag(struct Json *out, const char *key, bool value) {
  begin(out, key);
  append(out, value ? "true" : "false", value ? 4 : 5);
}

void json_text(struct Json *out, const char *key, const char *value) {
  if (value == NULL) {
    json_null(out, key);
    return;
  }
  begin(out, key);
  quote(out, value);
}

void json_number(struct Json *out, const char *key, double value) {
  if (!isfinite(value)) {
    json_null(out, key);
    return;
  }
  begin(out, key);
  print(out, "%.12g", value);
}

void json_integer(struct Json *out, const char *key, long long value) {
  begin(out, key);
  print(out, "%lld", value);
}

void json_print_result(const struct Json *out) {
  printf("\nEDGEVQA-RESULT %s\n", out->text);
  fflush(stdout);
}
