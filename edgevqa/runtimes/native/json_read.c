#include <ctype.h>
#include <math.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "json.h"

enum { DEEPEST = 32, LONGEST_NUMBER = 64 };

struct Reader {
  const char *at, *end;
  const char *reason;
};

static struct JsonValue *read_value(struct Reader *in, int depth);

static void skip_space(struct Reader *in) {
  while (in->at < in->end && strchr(" \t\r\n", *in->at) != NULL && *in->at != '\0') in->at++;
}

static bool take(struct Reader *in, char wanted) {
  skip_space(in);
  if (in->at >= in->end || *in->at != wanted) return false;
  in->at++;
  return true;
}

static bool refuse(struct Reader *in, const char *reason) {
  if (in->reason == NULL) in->reason = reason;
  return false;
}

static bool read_hex(struct Reader *in, uint32_t *value) {
  *value = 0;
  if (in->end - in->at < 4) return refuse(in, "a string ends inside an escape");
  for (int digit = 0; digit < 4; digit++, in->at++) {
    char byte = *in->at;
    if (!isxdigit((unsigned char)byte)) return refuse(in, "an escape is not hexadecimal");
    *value = *value * 16 + (uint32_t)(isdigit((unsigned char)byte) ? byte - '0' : tolower(byte) - 'a' + 10);
  }
  return true;
}

/* Writes a code point as UTF-8: never more bytes than the escape has that it stands for. */
static char *put_code(char *out, uint32_t code) {
  if (code < 0x80) {
    *out++ = (char)code;
  } else if (code < 0x800) {
    *out++ = (char)(0xC0 | code >> 6);
    *out++ = (char)(0x80 | (code & 0x3F));
  } else if (code < 0x10000) {
    *out++ = (char)(0xE0 | code >> 12);
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  } else {
    *out++ = (char)(0xF0 | code >> 18);
    *out++ = (char)(0x80 | (code >> 12 & 0x3F));
    *out++ = (char)(0x80 | (code >> 6 & 0x3F));
    *out++ = (char)(0x80 | (code & 0x3F));
  }
  return out;
}

static bool read_escape(struct Reader *in, char **out) {
  static const char letters[] = "\"\\/bfnrt", meant[] = "\"\\/\b\f\n\r\t";
  if (in->at >= in->end) return refuse(in, "a string ends inside an escape");
  char letter = *in->at++;
  const char *found = letter != '\0' ? strchr(letters, letter) : NULL;
  if (found != NULL) {
    *(*out)++ = meant[found - letters];
    return true;
  }
  uint32_t code, low;
  if (letter != 'u') return refuse(in, "an escape is unknown");
  if (!read_hex(in, &code)) return false;
  if (code >= 0xD800 && code < 0xDC00 && in->end - in->at >= 6 && in->at[0] == '\\' && in->at[1] == 'u') {
    in->at += 2;
    if (!read_hex(in, &low)) return false;
    if (low < 0xDC00 || low > 0xDFFF) return refuse(in, "half a pair of escapes is missing");
    code = 0x10000 + ((code - 0xD800) << 10) + (low - 0xDC00);
  }
  if (code == 0) return refuse(in, "a string holds a zero byte");
  if (code >= 0xD800 && code <= 0xDFFF) return refuse(in, "half a pair of escapes is missing");
  *out = put_code(*out, code);
  return true;
}

static char *read_string(struct Reader *in) {
  if (!take(in, '"')) {
    refuse(in, "a string is missing");
    return NULL;
  }
  const char *close = in->at;
  while (close < in->end && *close != '"') close += *close == '\\' && close + 1 < in->end ? 2 : 1;
  if (close >= in->end) {
    refuse(in, "a string does not end");
    return NULL;
  }
  char *text = allocate((size_t)(close - in->at) + 1), *out = text;
  while (*in->at != '"') {
    unsigned char byte = (unsigned char)*in->at++;
    if (byte < 0x20) refuse(in, "a string holds a control character");
    if (byte == '\\') {
      if (!read_escape(in, &out)) return NULL;
    } else {
      *out++ = (char)byte;
    }
  }
  in->at++;
  *out = '\0';
  return in->reason == NULL ? text : NULL;
}

static bool read_number(struct Reader *in, struct JsonValue *value) {
  char digits[LONGEST_NUMBER + 1], *end;
  size_t length = 0;
  while (in->at < in->end && length < LONGEST_NUMBER && *in->at != '\0' && strchr("+-.eE0123456789", *in->at) != NULL)
    digits[length++] = *in->at++;
  digits[length] = '\0';
  value->kind = JSON_NUMBER;
  value->number = strtod(digits, &end);
  if (length == 0 || *end != '\0' || digits[0] == '+' || !isfinite(value->number))
    return refuse(in, "a value is neither a number nor anything else");
  return true;
}

static bool read_word(struct Reader *in, struct JsonValue *value) {
  static const struct {
    const char *word;
    enum JsonKind kind;
  } words[] = {{"true", JSON_TRUE}, {"false", JSON_FALSE}, {"null", JSON_NULL}};
  for (size_t index = 0; index < sizeof words / sizeof *words; index++) {
    size_t length = strlen(words[index].word);
    if ((size_t)(in->end - in->at) >= length && memcmp(in->at, words[index].word, length) == 0) {
      in->at += length;
      value->kind = words[index].kind;
      return true;
    }
  }
  return read_number(in, value);
}

static bool read_items(struct Reader *in, struct JsonValue *value, char close, int depth) {
  struct JsonValue **link = &value->first;
  in->at++;
  value->kind = close == '}' ? JSON_OBJECT : JSON_ARRAY;
  if (take(in, close)) return true;
  do {
    char *key = NULL;
    if (close == '}') {
      key = read_string(in);
      if (key == NULL) return false;
      if (!take(in, ':')) return refuse(in, "a colon is missing");
    }
    struct JsonValue *item = read_value(in, depth + 1);
    if (item == NULL) return false;
    item->key = key;
    *link = item;
    link = &item->next;
  } while (take(in, ','));
  return take(in, close) || refuse(in, "a bracket is not closed");
}

static struct JsonValue *read_value(struct Reader *in, int depth) {
  skip_space(in);
  if (in->at >= in->end || depth > DEEPEST) {
    refuse(in, in->at >= in->end ? "it ends too early" : "its brackets are too deep");
    return NULL;
  }
  struct JsonValue *value = allocate(sizeof *value);
  memset(value, 0, sizeof *value);
  bool good;
  if (*in->at == '"') {
    value->kind = JSON_STRING;
    value->text = read_string(in);
    good = value->text != NULL;
  } else if (*in->at == '{' || *in->at == '[') {
    good = read_items(in, value, *in->at == '{' ? '}' : ']', depth);
  } else {
    good = read_word(in, value);
  }
  return good ? value : NULL;
}

struct JsonValue *json_read(const char *text, size_t length, const char **reason) {
  struct Reader in = {text, text + length, NULL};
  struct JsonValue *value = read_value(&in, 0);
  skip_space(&in);
  if (value != NULL && in.at != in.end) {
    refuse(&in, "something follows its end");
    value = NULL;
  }
  *reason = in.reason;
  return value;
}

const struct JsonValue *json_find(const struct JsonValue *object, const char *key) {
  const struct JsonValue *found = NULL;
  if (object == NULL || object->kind != JSON_OBJECT) return NULL;
  for (const struct JsonValue *item = object->first; item != NULL; item = item->next)
    if (strcmp(item->key, key) == 0) found = item;
  return found;
}
