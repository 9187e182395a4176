#include "host.h"

#include <dirent.h>
#include <fcntl.h>
#include <glob.h>
#include <math.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "fail.h"
#include "files.h"

#define CPU "/sys/devices/system/cpu/"
enum { KERNEL_FILE = 1 << 16 };

static const double HOTTEST = 200000; /* thousandths of a degree: a sensor that says more is broken */

double monotonic_s(void) {
  struct timespec now;
  clock_gettime(CLOCK_MONOTONIC, &now);
  return (double)now.tv_sec + (double)now.tv_nsec / 1e9;
}

static bool allowed(cpu_set_t *cores) {
  CPU_ZERO(cores);
  return sched_getaffinity(0, sizeof *cores, cores) == 0;
}

int next_core(int core) {
  cpu_set_t cores;
  if (!allowed(&cores)) return core < 0 ? 0 : -1;
  for (core++; core < CPU_SETSIZE; core++)
    if (CPU_ISSET(core, &cores)) return core;
  return -1;
}

void pin(const char *mask) {
  cpu_set_t wanted, have;
  CPU_ZERO(&wanted);
  const char *digits = strncmp(mask, "0x", 2) == 0 ? mask + 2 : mask;
  int core = 0;
  bool good = *digits != '\0';
  for (const char *digit = digits + strlen(digits); digit-- > digits; core += 4) {
    char one[2] = {*digit, '\0'}, *end;
    long value = strtol(one, &end, 16);
    good = good && end == one + 1 && (value == 0 || core + 3 < CPU_SETSIZE);
    for (int bit = 0; good && bit < 4; bit++)
      if (value >> bit & 1) CPU_SET(core + bit, &wanted);
  }
  if (good) sched_setaffinity(0, sizeof wanted, &wanted);
  if (!good || !allowed(&have) || !CPU_EQUAL(&wanted, &have))
    fail("job", "cannot run on the cores of mask %s of this device", mask);
}

double memory_mb(const char *field) {
  char text[KERNEL_FILE];
  size_t length = strlen(field);
  if (read_text("/proc/self/status", text, sizeof text) == NULL) return NAN;
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n"))
    if (strncmp(line, field, length) == 0 && line[length] == ':') return strtod(line + length + 1, NULL) * 1024 / 1e6;
  return NAN;
}

void forget_peak(void) {
  int file = open("/proc/self/clear_refs", O_WRONLY | O_CLOEXEC);
  if (file < 0) return;
  if (write(file, "5", 1) < 0) { /* then the peak counts the questions, too */
  }
  close(file);
}

int thread_count(void) {
  int count = 0;
  DIR *folder = opendir("/proc/self/task");
  if (folder == NULL) return 0;
  for (struct dirent *entry = readdir(folder); entry != NULL; entry = readdir(folder)) count += entry->d_name[0] != '.';
  closedir(folder);
  return count;
}

/* Seconds that the cores this process may use were busy, and that the hypervisor stole from them. */
static void read_core_times(struct HostState *state) {
  char text[KERNEL_FILE];
  cpu_set_t cores;
  if (read_text("/proc/stat", text, sizeof text) == NULL || text[0] == '\0' || !allowed(&cores)) return;
  double tick = (double)sysconf(_SC_CLK_TCK);
  state->busy_s = state->stolen_s = 0;
  for (char *line = strtok(text, "\n"); line != NULL; line = strtok(NULL, "\n")) {
    int core;
    unsigned long long user, nice, system, idle, wait, irq, softirq, steal;
    if (sscanf(line, "cpu%d %llu %llu %llu %llu %llu %llu %llu %llu", &core, &user, &nice, &system, &idle, &wait, &irq,
               &softirq, &steal) != 9 ||
        core < 0 || core >= CPU_SETSIZE || !CPU_ISSET(core, &cores))
      continue;
    state->busy_s += (double)(user + nice + system + irq + softirq) / tick;
    state->stolen_s += (double)steal / tick;
  }
}

/* The sum of the numbers in files of a pattern, of the second one in each if `second`; NAN if there are none. */
static double sum_of(const char *pattern, bool second) {
  glob_t found;
  double sum = NAN;
  if (glob(pattern, 0, NULL, &found) != 0) return NAN;
  for (size_t index = 0; index < found.gl_pathc; index++) {
    char text[128], *end;
    if (read_text(found.gl_pathv[index], text, sizeof text) == NULL || text[0] == '\0') continue;
    double value = strtod(text, &end);
    if (second) value = strtod(end, NULL);
    sum = isnan(sum) ? value : sum + value;
  }
  globfree(&found);
  return sum;
}

double clock_mhz(const cpu_set_t *cores) {
  char path[128];
  double sum = 0;
  int known = 0;
  for (int core = 0; core < CPU_SETSIZE; core++) {
    if (!CPU_ISSET(core, cores)) continue;
    snprintf(path, sizeof path, CPU "cpu%d/cpufreq/scaling_cur_freq", core);
    double clock = read_number(path);
    if (isnan(clock)) continue;
    sum += clock;
    known++;
  }
  return known > 0 ? sum / known / 1000 : NAN;
}

double temperature_c(void) {
  glob_t found;
  double highest = NAN;
  if (glob("/sys/class/thermal/thermal_zone*/temp", 0, NULL, &found) != 0) return NAN;
  for (size_t index = 0; index < found.gl_pathc; index++) {
    double value = read_number(found.gl_pathv[index]);
    if (value > 0 && value < HOTTEST) highest = fmax(highest, value / 1000); /* fmax passes over NAN */
  }
  globfree(&found);
  return highest;
}

int throttled_now(void) {
  char text[64];
  if (read_text("/sys/devices/platform/soc/soc:firmware/get_throttled", text, sizeof text) == NULL || text[0] == '\0')
    return -1;
  return (strtol(text, NULL, 16) & 0xF) != 0;
}

static void read_cores(struct HostState *state) {
  char path[128], text[64];
  cpu_set_t cores;
  if (allowed(&cores)) state->clock_mhz = clock_mhz(&cores);
  for (int core = next_core(-1); core >= 0; core = next_core(core)) {
    state->cores++;
    snprintf(path, sizeof path, CPU "cpu%d/cpufreq/scaling_governor", core);
    if (read_text(path, text, sizeof text) != NULL && text[0] != '\0' && strstr(state->governor, text) == NULL) {
      size_t length = strlen(state->governor);
      snprintf(state->governor + length, sizeof state->governor - length, length ? "+%s" : "%s", text);
    }
  }
}

static void read_throttling(struct HostState *state) {
  char text[4096];
  double no_turbo = read_number(CPU "intel_pstate/no_turbo"), boost = read_number(CPU "cpufreq/boost");
  if (!isnan(no_turbo))
    state->turbo = no_turbo == 0;
  else if (!isnan(boost))
    state->turbo = boost == 1;
  state->throttle_count = sum_of(CPU "cpu*/thermal_throttle/core_throttle_count", false);
  state->throttled_now = throttled_now();
  if (read_text("/sys/fs/cgroup/cpu.stat", text, sizeof text) != NULL) {
    char *line = strstr(text, "throttled_usec ");
    if (line != NULL) state->quota_stopped_s = strtod(line + strlen("throttled_usec "), NULL) / 1e6;
  }
}

void read_host(struct HostState *state) {
  char text[128];
  struct timespec own;
  *state = (struct HostState){.monotonic_s = monotonic_s(),
                              .clock_mhz = NAN,
                              .load_average = NAN,
                              .throttle_count = NAN,
                              .quota_stopped_s = NAN,
                              .busy_s = NAN,
                              .stolen_s = NAN,
                              .own_s = NAN,
                              .turbo = -1,
                              .throttled_now = -1};
  read_cores(state);
  state->temperature_c = temperature_c();
  read_throttling(state);
  if (read_text("/proc/loadavg", text, sizeof text) != NULL && text[0] != '\0')
    state->load_average = strtod(text, NULL);
  read_core_times(state);
  state->waited_s = sum_of("/proc/self/task/*/schedstat", true) / 1e9;
  if (clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &own) == 0) state->own_s = (double)own.tv_sec + (double)own.tv_nsec / 1e9;
}

static void write_maybe(struct Json *out, const char *key, int value) {
  if (value < 0)
    json_null(out, key);
  else
    json_flag(out, key, value != 0);
}

void write_host(struct Json *out, const char *key, const struct HostState *state) {
  json_open(out, key, '{');
  json_number(out, "monotonic_s", state->monotonic_s);
  json_integer(out, "cores", state->cores);
  json_text(out, "governor", state->governor[0] ? state->governor : NULL);
  json_number(out, "clock_mhz", state->clock_mhz);
  write_maybe(out, "turbo", state->turbo);
  json_number(out, "load_average", state->load_average);
  json_number(out, "temperature_c", state->temperature_c);
  json_number(out, "throttle_count", state->throttle_count);
  write_maybe(out, "throttled_now", state->throttled_now);
  json_number(out, "quota_stopped_s", state->quota_stopped_s);
  json_number(out, "busy_s", state->busy_s);
  json_number(out, "stolen_s", state->stolen_s);
  json_number(out, "waited_s", state->waited_s);
  json_number(out, "own_s", state->own_s);
  json_close(out, '}');
}
