#include <glob.h>
#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <sys/utsname.h>
#include <time.h>
#include <unistd.h>
#ifdef __GLIBC__
#include <gnu/libc-version.h>
#endif

#include "files.h"
#include "host.h"

#define CPU "/sys/devices/system/cpu/"
enum { KERNEL_FILE = 1 << 16, LONGEST_FACT = 4096, MOST_FLAGS = 512, MOST_CORES = 1024 };

/* What a line such as "Features : fp asimd" says; the first one with the key, whatever its case. */
static bool find_fact(const char *text, const char *key, char *value, size_t size) {
  size_t length = strlen(key);
  for (const char *line = text; line != NULL && *line != '\0'; line = strchr(line, '\n'), line += line != NULL) {
    if (strncasecmp(line, key, length) != 0) continue;
    const char *at = line + length;
    while (*at == ' ' || *at == '\t') at++;
    if (*at++ != ':') continue;
    while (*at == ' ' || *at == '\t') at++;
    snprintf(value, size, "%.*s", (int)strcspn(at, "\n"), at);
    return true;
  }
  return false;
}

static bool starts(const char *text, const char *start) { return strncmp(text, start, strlen(start)) == 0; }

/* The same choice as FEATURES in runner.py. */
static bool is_feature(const char *flag) {
  static const char *const families[] = {"avx", "amx", "asimd", "sve"};
  static const char *const others[] = {"sse4_2", "fma", "f16c", "fphp", "i8mm", "bf16", "sme", "sme2"};
  for (size_t index = 0; index < sizeof families / sizeof *families; index++)
    if (starts(flag, families[index])) return true;
  for (size_t index = 0; index < sizeof others / sizeof *others; index++)
    if (strcmp(flag, others[index]) == 0) return true;
  return false;
}

static int compare(const void *left, const void *right) {
  return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static void write_sorted(struct Json *out, const char *key, char *names[], size_t count) {
  qsort(names, count, sizeof *names, compare);
  json_open(out, key, '[');
  for (size_t index = 0; index < count; index++)
    if (index == 0 || strcmp(names[index], names[index - 1]) != 0) json_text(out, NULL, names[index]);
  json_close(out, ']');
}

static void write_processor(struct Json *out) {
  static char text[KERNEL_FILE];
  char value[LONGEST_FACT], model[LONGEST_FACT] = "", part[LONGEST_FACT] = "", flags[LONGEST_FACT] = "";
  char *names[MOST_FLAGS];
  size_t count = 0;
  if (read_text("/proc/cpuinfo", text, sizeof text) == NULL) text[0] = '\0';
  find_fact(text, "model name", model, sizeof model);
  if (find_fact(text, "CPU implementer", value, sizeof value)) snprintf(part, sizeof part, "%s", value);
  if (find_fact(text, "CPU part", value, sizeof value) && strlen(part) + strlen(value) + 2 < sizeof part) {
    if (part[0] != '\0') strcat(part, " ");
    strcat(part, value);
  }
  if (!find_fact(text, "flags", flags, sizeof flags)) find_fact(text, "Features", flags, sizeof flags);
  json_text(out, "cpu_model", model[0] ? model : part[0] ? part : NULL);
  for (char *flag = strtok(flags, " "); flag != NULL && count < MOST_FLAGS; flag = strtok(NULL, " "))
    if (is_feature(flag)) names[count++] = flag;
  write_sorted(out, "features", names, count);
}

/* What the kernel says of each core in a file of its own, in another unit. */
static void write_of_each_core(struct Json *out, const char *key, const char *file, double unit) {
  char path[128];
  json_open(out, key, '[');
  for (int core = next_core(-1); core >= 0; core = next_core(core)) {
    snprintf(path, sizeof path, CPU "cpu%d/%s", core, file);
    json_number(out, NULL, read_number(path) / unit);
  }
  json_close(out, ']');
}

static void write_cores(struct Json *out) {
  char mask[MOST_CORES / 4 + 3] = "0x";
  unsigned char digits[MOST_CORES / 4] = {0};
  int highest = 0, length = 2;
  json_integer(out, "cores", sysconf(_SC_NPROCESSORS_ONLN));
  for (int core = next_core(-1); core >= 0 && core < MOST_CORES; core = next_core(core)) {
    digits[core / 4] |= (unsigned char)(1 << core % 4);
    highest = core / 4;
  }
  for (int digit = highest; digit >= 0; digit--) mask[length++] = "0123456789abcdef"[digits[digit]];
  mask[length] = '\0';
  json_text(out, "core_mask", mask);
  write_of_each_core(out, "core_maximum_mhz", "cpufreq/cpuinfo_max_freq", 1000);
  write_of_each_core(out, "core_capacity", "cpu_capacity", 1);
}

/* The kernel's name of the device that `path` is a file of, behind what it measures. */
static char *sensor_name(const char *what, const char *path, const char *name_file) {
  char other[512], name[128], text[256];
  snprintf(other, sizeof other, "%.*s/%s", (int)(strrchr(path, '/') - path), path, name_file);
  if (read_text(other, name, sizeof name) == NULL || name[0] == '\0') snprintf(name, sizeof name, "unnamed");
  snprintf(text, sizeof text, "%s %s", what, name);
  return strdup(text);
}

static void write_sensors(struct Json *out) {
  static const struct {
    const char *pattern, *what, *name_file;
  } kinds[] = {
      {"/sys/class/thermal/thermal_zone*/temp", "temperature", "type"},
      {"/sys/class/hwmon/hwmon*/power*_input", "power", "name"},
      {"/sys/class/hwmon/hwmon*/curr*_input", "power", "name"},
  };
  char *names[MOST_FLAGS];
  size_t count = 0;
  glob_t found;
  for (size_t kind = 0; kind < sizeof kinds / sizeof *kinds; kind++) {
    if (glob(kinds[kind].pattern, 0, NULL, &found) != 0) continue;
    for (size_t index = 0; index < found.gl_pathc && count < MOST_FLAGS; index++)
      if (kind > 0 || !isnan(read_number(found.gl_pathv[index])))
        names[count++] = sensor_name(kinds[kind].what, found.gl_pathv[index], kinds[kind].name_file);
    globfree(&found);
  }
  if (glob("/sys/class/power_supply/*/current_now", 0, NULL, &found) == 0) {
    for (size_t index = 0; index < found.gl_pathc && count < MOST_FLAGS; index++) {
      char text[512];
      const char *start = found.gl_pathv[index] + strlen("/sys/class/power_supply/");
      snprintf(text, sizeof text, "battery %.*s", (int)strcspn(start, "/"), start);
      names[count++] = strdup(text);
    }
    globfree(&found);
  }
  if (access("/sys/class/powercap/intel-rapl:0", F_OK) == 0 && count < MOST_FLAGS)
    names[count++] = strdup("energy intel-rapl");
  write_sorted(out, "sensors", names, count);
}

void write_machine(struct Json *out) {
  char text[KERNEL_FILE], value[LONGEST_FACT];
  struct utsname system;
  struct statvfs disk;
  struct timespec now;
  uname(&system);
  json_text(out, "machine", system.machine);
  json_text(out, "system", system.sysname);
  json_text(out, "kernel", system.release);
#ifdef __GLIBC__
  snprintf(value, sizeof value, "glibc %s", gnu_get_libc_version());
  json_text(out, "libc", value);
#elif defined(__BIONIC__)
  json_text(out, "libc", "bionic");
#else
  json_null(out, "libc");
#endif
  json_text(out, "board", read_text("/sys/firmware/devicetree/base/model", value, sizeof value));
  write_processor(out);
  write_cores(out);
  bool known =
      read_text("/proc/meminfo", text, sizeof text) != NULL && find_fact(text, "MemTotal", value, sizeof value);
  json_number(out, "memory_mb", known ? strtod(value, NULL) * 1024 / 1e6 : NAN);
  json_integer(out, "bits", (long long)sizeof(void *) * 8);
  json_null(out, "python");
  json_null(out, "numpy");
  write_sensors(out);
  json_number(out, "disk_free_mb",
              statvfs(".", &disk) == 0 ? (double)disk.f_bavail * (double)disk.f_frsize / 1e6 : NAN);
  clock_gettime(CLOCK_REALTIME, &now);
  json_number(out, "wall_clock_s", (double)now.tv_sec + (double)now.tv_nsec / 1e9);
}
