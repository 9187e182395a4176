/* Whole files, and nothing that is larger than we expect. */
#ifndef EDGEVQA_FILES_H
#define EDGEVQA_FILES_H

#include <stdbool.h>
#include <stddef.h>

/* Reads a regular file into memory, with a zero byte behind it; NULL with errno set, EFBIG above `limit` bytes. */
char *read_file(const char *path, size_t limit, size_t *length);

/* The start of one of the kernel's files without the white space around it, or NULL; `size` counts its zero byte. */
char *read_text(const char *path, char *buffer, size_t size);

/* The number in one of the kernel's files, or NAN. */
double read_number(const char *path);

bool is_file(const char *path);

#endif
