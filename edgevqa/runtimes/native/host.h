/* What the machine is, and the state it is in, read from the kernel's files; the keys are those of runner.py. */
#ifndef EDGEVQA_HOST_H
#define EDGEVQA_HOST_H

#include <sched.h>

#include "json.h"

struct HostState {
  double monotonic_s, clock_mhz, load_average, temperature_c, throttle_count, quota_stopped_s, busy_s, stolen_s,
      waited_s, own_s; /* NAN is unknown */
  int cores;
  int turbo, throttled_now; /* below 0 is unknown */
  char governor[256];       /* empty is unknown */
};

/* Reads the state as it is now. */
void read_host(struct HostState *state);
void write_host(struct Json *out, const char *key, const struct HostState *state);

/* The mean clock of some cores, the highest temperature, whether clocks are held down: NAN, NAN, below 0 are unknown.
 */
double clock_mhz(const cpu_set_t *cores);
double temperature_c(void);
int throttled_now(void);

/* Keeps this process on the cores of a mask such as 0xf0; ends it with a failure of kind `job` when it cannot. */
void pin(const char *mask);

/* This process's memory in MB: VmRSS now, VmHWM at its peak; NAN is unknown. */
double memory_mb(const char *field);

/* Lets the peak start anew, so that reading the questions is not counted as the model's. */
void forget_peak(void);

/* How many threads this process has; 0 is unknown. */
int thread_count(void);

/* Seconds of a clock that only goes on. */
double monotonic_s(void);

/* The facts of a probe but for its runtimes. */
void write_machine(struct Json *out);

/* Any core that this process may run on, one after another from -1 on; -1 after the last. */
int next_core(int core);

#endif
