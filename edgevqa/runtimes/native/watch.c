#include "watch.h"

#include <errno.h>
#include <math.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "host.h"

enum { EVERY_MS = 500, PATIENCE_MS = 30000 };

struct Seen {
  int looks, throttled; /* throttled: below 0 is unknown */
  double lowest_clock_mhz, highest_temperature_c;
};

/* The core to look from: one that the timed process may not use, else its last one if it leaves one; -1 is none. */
static int spare_core(int threads) {
  cpu_set_t own;
  int last = -1, count = 0, other = -1;
  CPU_ZERO(&own);
  for (int core = next_core(-1); core >= 0; core = next_core(core), count++) {
    CPU_SET(core, &own);
    last = core;
  }
  long all = sysconf(_SC_NPROCESSORS_ONLN);
  for (int core = 0; core < all && core < CPU_SETSIZE; core++)
    if (!CPU_ISSET(core, &own)) other = core;
  return other >= 0 ? other : count > threads ? last : -1;
}

/* Looks until the other end of `from` is closed; the clocks are those of the cores that the timed process may use. */
static void look(int from, struct Seen *seen, const cpu_set_t *cores) {
  struct pollfd ending = {.fd = from, .events = POLLIN};
  *seen = (struct Seen){.throttled = -1, .lowest_clock_mhz = NAN, .highest_temperature_c = NAN};
  do {
    int throttled = throttled_now();
    seen->looks++;
    seen->lowest_clock_mhz = fmin(seen->lowest_clock_mhz, clock_mhz(cores)); /* fmin and fmax pass over NAN */
    seen->highest_temperature_c = fmax(seen->highest_temperature_c, temperature_c());
    if (throttled > seen->throttled) seen->throttled = throttled;
  } while (poll(&ending, 1, EVERY_MS) == 0);
}

_Noreturn static void run_watch(int from, int to, int core, pid_t parent) {
  cpu_set_t cores, own;
  struct Seen seen;
  char start;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != parent || sched_getaffinity(0, sizeof cores, &cores) != 0) _exit(0);
  CPU_ZERO(&own);
  CPU_SET(core, &own);
  sched_setaffinity(0, sizeof own, &own);
  if (read(from, &start, 1) == 1) {
    look(from, &seen, &cores);
    if (write(to, &seen, sizeof seen) < 0) _exit(1);
  }
  _exit(0);
}

void prepare_watch(struct Watch *watch, int threads) {
  int there[2], back[2], core = spare_core(threads);
  pid_t own = getpid();
  watch->process = 0;
  signal(SIGPIPE, SIG_IGN);
  if (core < 0 || pipe(there) != 0) return;
  if (pipe(back) == 0) {
    watch->process = fork();
    if (watch->process == 0) {
      close(there[1]);
      close(back[0]);
      run_watch(there[0], back[1], core, own);
    }
    close(back[1]);
    watch->to = there[1];
    watch->from = back[0];
    if (watch->process > 0) {
      close(there[0]);
      return;
    }
    watch->process = 0;
    close(back[0]);
  }
  close(there[0]);
  close(there[1]);
}

void begin_watch(const struct Watch *watch) {
  if (watch->process <= 0) return;
  if (write(watch->to, "", 1) < 0) { /* it has ended, and nothing will be seen */
  }
}

void end_watch(struct Watch *watch, struct Json *out, const char *key) {
  struct Seen seen;
  bool known = false;
  if (watch->process > 0) {
    struct pollfd answer = {.fd = watch->from, .events = POLLIN};
    close(watch->to);
    known = poll(&answer, 1, PATIENCE_MS) == 1 && read(watch->from, &seen, sizeof seen) == (ssize_t)sizeof seen;
    kill(watch->process, SIGKILL);
    while (waitpid(watch->process, NULL, 0) < 0 && errno == EINTR) {
    }
    close(watch->from);
    watch->process = 0;
  }
  if (!known) {
    json_null(out, key);
    return;
  }
  json_open(out, key, '{');
  json_integer(out, "looks", seen.looks);
  json_number(out, "clock_minimum_mhz", seen.lowest_clock_mhz);
  json_number(out, "temperature_maximum_c", seen.highest_temperature_c);
  if (seen.throttled < 0)
    json_null(out, "throttled");
  else
    json_flag(out, "throttled", seen.throttled != 0);
  json_close(out, '}');
}
