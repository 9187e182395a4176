/* JSON: a reader for jobs, and a writer for results. */
#ifndef EDGEVQA_JSON_H
#define EDGEVQA_JSON_H

#include <stdbool.h>
#include <stddef.h>

enum JsonKind { JSON_NULL, JSON_FALSE, JSON_TRUE, JSON_NUMBER, JSON_STRING, JSON_ARRAY, JSON_OBJECT };

/* A value that was read. Items of arrays and objects hang on `first` and `next`; those of objects have a `key`. */
struct JsonValue {
  enum JsonKind kind;
  double number;
  char *text;
  char *key;
  struct JsonValue *first, *next;
};

/* Reads a whole text; NULL when it is not JSON, and `*reason` then says why. Depth and size are limited. */
struct JsonValue *json_read(const char *text, size_t length, const char **reason);

/* The last item of an object with a key, or NULL. */
const struct JsonValue *json_find(const struct JsonValue *object, const char *key);

/* What is being written. Start with {0}; `key` is NULL inside arrays and for the outermost value. */
struct Json {
  char *text;
  size_t length, capacity;
  bool comma;
};

void json_open(struct Json *out, const char *key, char bracket);
void json_close(struct Json *out, char bracket);
void json_null(struct Json *out, const char *key);
void json_flag(struct Json *out, const char *key, bool value);
/* NULL is null; bytes that are no UTF-8 become question marks. */
void json_text(struct Json *out, const char *key, const char *value);
/* Not a number is null. */
void json_number(struct Json *out, const char *key, double value);
void json_integer(struct Json *out, const char *key, long long value);
/* Prints the result on a line of its own, for a library may have left one unfinished. */
void json_print_result(const struct Json *out);

#endif
