#include "npz.h"

#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"
#include "files.h"
#include "npy.h"

/* Sizes and signatures of the parts of a zip file, see PKWARE's APPNOTE. */
enum { END_BYTES = 22, LONGEST_COMMENT = 65535, ENTRY_BYTES = 46, LOCAL_BYTES = 30 };
static const uint32_t END_MARK = 0x06054b50, ENTRY_MARK = 0x02014b50, LOCAL_MARK = 0x04034b50;
static const size_t LARGEST_FILE = (size_t)2000 * 1000 * 1000;
static const char *const LEFT_OUT[] = {"labels", "texts", "worth"};

static uint32_t number(const unsigned char *bytes, int count) {
  uint32_t value = 0;
  for (int index = count - 1; index >= 0; index--) value = value << 8 | bytes[index];
  return value;
}

_Noreturn static void refuse(const char *path, const char *reason) {
  fail("inputs", "cannot read the questions in %s: %s", path, reason);
}

/* The offset of the record at the end of a zip file. */
static size_t find_end(const char *path, const unsigned char *zip, size_t length) {
  for (size_t back = END_BYTES; back <= length && back <= END_BYTES + LONGEST_COMMENT; back++)
    if (number(zip + length - back, 4) == END_MARK) return length - back;
  refuse(path, "it is no zip file, or was cut");
}

static bool is_left_out(const char *name, size_t length) {
  for (size_t index = 0; index < sizeof LEFT_OUT / sizeof *LEFT_OUT; index++)
    if (strlen(LEFT_OUT[index]) == length && memcmp(LEFT_OUT[index], name, length) == 0) return true;
  return false;
}

/* Reads one member; `entry` is its record in the directory, which has been checked to lie within the file. */
static void read_member(const char *path, const unsigned char *zip, size_t length, const unsigned char *entry,
                        struct Questions *questions, size_t *total) {
  size_t name_bytes = number(entry + 28, 2), packed = number(entry + 20, 4), size = number(entry + 24, 4);
  size_t local = number(entry + 42, 4);
  const char *name = (const char *)entry + ENTRY_BYTES;
  if (name_bytes < 5 || memcmp(name + name_bytes - 4, ".npy", 4) != 0) refuse(path, "a member of it is no array");
  name_bytes -= 4;
  if (is_left_out(name, name_bytes)) return;
  if (number(entry + 8, 2) & 1) refuse(path, "it is encrypted");
  if (number(entry + 10, 2) != 0 || packed != size)
    refuse(path, "a member of it is compressed, and here only stored ones are read");
  if (name_bytes >= LONGEST_NAME || memchr(name, '\0', name_bytes) != NULL)
    refuse(path, "the name of a member makes no sense");
  if (questions->count == MOST_ARRAYS) refuse(path, "it has too many members");
  if (local > length || length - local < LOCAL_BYTES || number(zip + local, 4) != LOCAL_MARK)
    refuse(path, "a member of it is not where its directory says");
  size_t start = local + LOCAL_BYTES + number(zip + local + 26, 2) + number(zip + local + 28, 2);
  if (start > length || length - start < size) refuse(path, "it was cut");
  *total += size;
  if (*total > length) refuse(path, "its members overlap");
  struct Array *array = &questions->arrays[questions->count++];
  memcpy(array->name, name, name_bytes);
  array->name[name_bytes] = '\0';
  const char *reason = read_npy(zip + start, size, array);
  if (reason != NULL) fail("inputs", "cannot read the questions in %s: %s: %s", path, array->name, reason);
}

void read_questions(const char *path, struct Questions *questions) {
  size_t length, total = 0;
  memset(questions, 0, sizeof *questions);
  unsigned char *zip = (unsigned char *)read_file(path, LARGEST_FILE, &length);
  if (zip == NULL) refuse(path, strerror(errno));
  size_t end = find_end(path, zip, length);
  size_t count = number(zip + end + 10, 2), at = number(zip + end + 16, 4);
  for (size_t index = 0; index < count; index++) {
    if (at > end || end - at < ENTRY_BYTES || number(zip + at, 4) != ENTRY_MARK)
      refuse(path, "its directory is broken");
    size_t name_bytes = number(zip + at + 28, 2), rest = number(zip + at + 30, 2) + number(zip + at + 32, 2);
    if (end - at - ENTRY_BYTES < name_bytes + rest) refuse(path, "its directory is broken");
    read_member(path, zip, length, zip + at, questions, &total);
    at += ENTRY_BYTES + name_bytes + rest;
  }
  free(zip);
  for (int index = 0; index < questions->count; index++) {
    const struct Array *array = &questions->arrays[index];
    if (index == 0 && array->rank > 0) questions->rows = array->shape[0];
    if (array->rank == 0 || array->shape[0] != questions->rows) questions->rows = -1;
    if (questions->rows < 0) break;
  }
  if (questions->rows < 1) fail("inputs", "%s does not hold one and the same number of rows for every input", path);
}
