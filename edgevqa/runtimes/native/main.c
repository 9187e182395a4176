/*
 * The runner for devices without Python: the same job, the same result and the same files as runner.py.
 *
 *     edgevqa-runner JOB.json
 *
 * The runtimes are shared libraries beside this program. File names in the job are relative to the working folder. The
 * last line on standard output is `EDGEVQA-RESULT {json}`; a failure is {"ok": false, ...} with exit code 3. What this
 * program cannot know is null. MB are 1e6 bytes.
 */
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <unistd.h>

#include "backend.h"
#include "fail.h"
#include "host.h"
#include "job.h"
#include "modes.h"

/* Lets the kernel end this process with the process that started it, however that ends. */
static void end_with(const char *parent) {
  if (parent == NULL) return;
  prctl(PR_SET_PDEATHSIG, SIGKILL);
  if (getppid() != atoi(parent)) leave(3);
}

int main(int count, char **arguments) {
  if (count != 2) {
    fputs("usage: edgevqa-runner JOB.json\n", stderr);
    return 2;
  }
  end_with(getenv("EDGEVQA_PARENT"));
  set_program(arguments[0]);
  struct Job job = read_job(arguments[1]);
  if (job.core_mask != NULL) pin(job.core_mask);
  struct Json out = {0};
  json_open(&out, NULL, '{');
  json_flag(&out, "ok", true);
  run_mode(&job, &out);
  json_close(&out, '}');
  json_print_result(&out);
  leave(0);
}
