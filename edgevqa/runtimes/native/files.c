#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "fail.h"

/* Reads at most `size` bytes; -1 with errno set. */
static ssize_t read_all(int file, char *buffer, size_t size) {
  size_t have = 0;
  while (have < size) {
    ssize_t count = read(file, buffer + have, size - have);
    if (count < 0 && errno == EINTR) continue;
    if (count < 0) return -1;
    if (count == 0) break;
    have += (size_t)count;
  }
  return (ssize_t)have;
}

char *read_file(const char *path, size_t limit, size_t *length) {
  struct stat facts;
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return NULL;
  char *content = NULL;
  if (fstat(file, &facts) == 0) {
    if (!S_ISREG(facts.st_mode)) {
      errno = S_ISDIR(facts.st_mode) ? EISDIR : EINVAL;
    } else if (facts.st_size < 0 || (unsigned long long)facts.st_size > limit) {
      errno = EFBIG;
    } else {
      content = allocate((size_t)facts.st_size + 1);
      ssize_t count = read_all(file, content, (size_t)facts.st_size);
      if (count < 0) {
        free(content);
        content = NULL;
      } else {
        content[count] = '\0';
        *length = (size_t)count;
      }
    }
  }
  int kept = errno;
  close(file);
  errno = kept;
  return content;
}

char *read_text(const char *path, char *buffer, size_t size) {
  int file = open(path, O_RDONLY | O_CLOEXEC);
  if (file < 0) return NULL;
  ssize_t count = read_all(file, buffer, size - 1);
  close(file);
  if (count < 0) return NULL;
  while (count > 0 && memchr(" \t\n", buffer[count - 1], 3) != NULL) count--;
  while (count > 0 && buffer[count - 1] == '\0') count--;
  buffer[count] = '\0';
  return buffer;
}

double read_number(const char *path) {
  char text[64], *end;
  if (read_text(path, text, sizeof text) == NULL || text[0] == '\0') return NAN;
  double value = strtod(text, &end);
  return *end == '\0' ? value : NAN;
}

bool is_file(const char *path) {
  struct stat facts;
  return stat(path, &facts) == 0 && S_ISREG(facts.st_mode);
}
