/* The one way out when something is wrong: the result says so, and the process ends with exit code 3. */
#ifndef EDGEVQA_FAIL_H
#define EDGEVQA_FAIL_H

#include <stddef.h>

/* Ends the process. `kind` is job, missing_runtime, delegate, model, inputs, run or write, as in runner.py. */
_Noreturn void fail(const char *kind, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* Memory that is there, or the process ends. */
void *allocate(size_t bytes);

/* Ends the process at once, after what it has printed is out; libraries get no chance to crash while they unload. */
_Noreturn void leave(int code);

#endif
