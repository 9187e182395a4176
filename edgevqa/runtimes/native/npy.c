#include "npy.h"

#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "fail.h"

enum { ALIGNMENT = 64, LONGEST_HEADER = 4096 };

static const struct {
  const char *descr, *name;
} DESCRIPTIONS[] = {
    {"<f4", "float32"}, {"<i4", "int32"}, {"<i8", "int64"}, {"<f2", "float16"}, {"<f8", "float64"}, {"|b1", "bool"},
    {"|i1", "int8"},    {"|u1", "uint8"}, {"<i2", "int16"}, {"<u2", "uint16"},  {"<u4", "uint32"},  {"<u8", "uint64"},
};

/* What follows a key of the header, which is a dictionary as Python prints it; NULL if it is not there. */
static const char *after_key(const char *header, const char *key) {
  const char *found = strstr(header, key);
  if (found == NULL) return NULL;
  found += strlen(key);
  while (*found == ' ') found++;
  if (*found != ':') return NULL;
  do found++;
  while (*found == ' ');
  return found;
}

static const struct Type *read_type(const char *header) {
  const char *at = after_key(header, "'descr'");
  if (at == NULL || *at != '\'') return NULL;
  for (size_t index = 0; index < sizeof DESCRIPTIONS / sizeof *DESCRIPTIONS; index++)
    if (strncmp(at + 1, DESCRIPTIONS[index].descr, 3) == 0 && at[4] == '\'') return find_type(DESCRIPTIONS[index].name);
  return NULL;
}

/* Reads the shape, and counts the elements of a row and of all; false if it makes no sense or is larger than `limit`.
 */
static bool read_shape(const char *header, struct Array *array, size_t limit, size_t *row, size_t *all) {
  const char *at = after_key(header, "'shape'");
  if (at == NULL || *at++ != '(') return false;
  *row = *all = 1;
  array->rank = 0;
  for (;;) {
    while (*at == ' ') at++;
    if (*at == ')') return true;
    if (!isdigit((unsigned char)*at) || array->rank == LARGEST_RANK) return false;
    char *end;
    errno = 0;
    unsigned long long size = strtoull(at, &end, 10);
    if (errno != 0 || size > limit || (*all > 0 && size > 0 && *all > limit / size)) return false;
    *all *= (size_t)size;
    if (array->rank > 0) *row *= (size_t)size;
    array->shape[array->rank++] = (int64_t)size;
    at = end;
    while (*at == ' ') at++;
    if (*at == ',')
      at++;
    else if (*at != ')')
      return false;
  }
}

const char *read_npy(const unsigned char *bytes, size_t length, struct Array *array) {
  if (length < 10 || memcmp(bytes, "\x93NUMPY", 6) != 0) return "it is no array of numpy's";
  size_t start = bytes[6] == 1 ? 10 : 12, header_bytes = (size_t)bytes[8] | (size_t)bytes[9] << 8;
  if (bytes[6] < 1 || bytes[6] > 3) return "its format is unknown";
  if (start == 12) {
    if (length < start) return "it was cut";
    header_bytes |= (size_t)bytes[10] << 16 | (size_t)bytes[11] << 24;
  }
  if (header_bytes > LONGEST_HEADER) return "its header is too long";
  if (length - start < header_bytes) return "it was cut";
  char header[LONGEST_HEADER + 1];
  memcpy(header, bytes + start, header_bytes);
  header[header_bytes] = '\0';
  length -= start + header_bytes;

  array->type = read_type(header);
  if (array->type == NULL) return "its type is none that is read here";
  const char *order = after_key(header, "'fortran_order'");
  if (order == NULL || strncmp(order, "False", 5) != 0) return "it is not in C order";
  size_t row, all;
  if (!read_shape(header, array, length / array->type->bytes, &row, &all))
    return "its shape makes no sense or it was cut";
  if (all * array->type->bytes != length) return "its size does not fit its shape";
  array->row_bytes = row * array->type->bytes;
  void *data;
  if (posix_memalign(&data, ALIGNMENT, length ? length : 1) != 0) return "the memory of this device does not suffice";
  memcpy(data, bytes + start + header_bytes, length);
  array->data = data;
  return NULL;
}

void write_npy(const char *path, const char *descr, int rank, const int64_t *shape, const void *data, size_t bytes) {
  char header[512], dimensions[SHAPE_TEXT];
  int length = 0;
  for (int axis = 0; axis < rank; axis++)
    length += snprintf(dimensions + length, sizeof dimensions - (size_t)length, "%lld, ", (long long)shape[axis]);
  snprintf(header, sizeof header, "{'descr': '%s', 'fortran_order': False, 'shape': (%.*s), }", descr,
           rank == 1 ? length - 1 : length - 2, dimensions);
  size_t padded = (strlen(header) + 10 + ALIGNMENT) / ALIGNMENT * ALIGNMENT - 10;
  const unsigned char start[10] = {0x93, 'N', 'U', 'M', 'P', 'Y', 1, 0, padded & 0xFF, (unsigned char)(padded >> 8)};
  FILE *file = fopen(path, "wb");
  if (file == NULL) fail("write", "cannot write %s: %s", path, strerror(errno));
  bool good = fwrite(start, sizeof start, 1, file) == 1;
  good = good && fprintf(file, "%-*s\n", (int)padded - 1, header) == (int)padded;
  good = good && (bytes == 0 || fwrite(data, bytes, 1, file) == 1);
  int reason = errno;
  if (fclose(file) != 0 && good) {
    good = false;
    reason = errno;
  }
  if (!good) fail("write", "cannot write %s: %s", path, strerror(reason));
}
