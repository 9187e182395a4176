/* Reads what others wrote, as the runner does: `parsers json FILE` or `parsers npz FILE`. */
#include <stdio.h>
#include <string.h>

#include "fail.h"
#include "files.h"
#include "json.h"
#include "npz.h"

/* Writes what was read, so that nothing of it goes untouched. */
static void show(struct Json *out, const struct JsonValue *value) {
  switch (value->kind) {
    case JSON_NULL: json_null(out, value->key); break;
    case JSON_FALSE: json_flag(out, value->key, false); break;
    case JSON_TRUE: json_flag(out, value->key, true); break;
    case JSON_NUMBER: json_number(out, value->key, value->number); break;
    case JSON_STRING: json_text(out, value->key, value->text); break;
    default:
      json_open(out, value->key, value->kind == JSON_OBJECT ? '{' : '[');
      for (const struct JsonValue *item = value->first; item != NULL; item = item->next) show(out, item);
      json_close(out, value->kind == JSON_OBJECT ? '}' : ']');
  }
}

int main(int count, char **arguments) {
  static struct Questions questions;
  size_t length;
  const char *reason;
  struct Json out = {0};
  if (count != 3) return 2;
  if (strcmp(arguments[1], "json") == 0) {
    char *text = read_file(arguments[2], 1 << 20, &length);
    const struct JsonValue *value = text ? json_read(text, length, &reason) : NULL;
    if (value == NULL) fail("job", "%s", reason);
    show(&out, value);
    json_print_result(&out);
    leave(0);
  }
  read_questions(arguments[2], &questions);
  for (int index = 0; index < questions.count; index++) {
    const struct Array *array = &questions.arrays[index];
    char shape[SHAPE_TEXT];
    unsigned sum = 0;
    for (size_t byte = 0; byte < array->row_bytes * (size_t)questions.rows; byte++)
      sum += (unsigned char)array->data[byte];
    printf("%s %s %s %u\n", array->name, array->type->name, shape_text(array->rank, array->shape, shape), sum);
  }
  leave(0);
}
