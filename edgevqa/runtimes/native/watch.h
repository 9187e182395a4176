/* A process beside the timed one, on another core, that looks at clock, temperature and throttling twice a second. */
#ifndef EDGEVQA_WATCH_H
#define EDGEVQA_WATCH_H

#include <sys/types.h>

#include "json.h"

struct Watch {
  pid_t process; /* 0: nobody looks */
  int to, from;
};

/* Starts the process, which waits; nobody looks where there is no core to spare. Call it before anything is loaded. */
void prepare_watch(struct Watch *watch, int threads);

/* Lets it look. */
void begin_watch(const struct Watch *watch);

/* Ends it, and writes what it saw, or null. */
void end_watch(struct Watch *watch, struct Json *out, const char *key);

#endif
