/* What a job can ask for. */
#ifndef EDGEVQA_MODES_H
#define EDGEVQA_MODES_H

#include "job.h"
#include "json.h"

/* Does the job, and writes what is reported into an open object; failures end the process. */
void run_mode(const struct Job *job, struct Json *out);

#endif
