/* A plugin of qemu's user mode: how many instructions of the guest each marked query executes.
 *
 *   qemu-aarch64 -plugin instructions.so,out=FILE PROGRAM ...
 *
 * The program calls getpriority(12345, 0) where a query begins and getpriority(12345, 1) where it ends; at its end FILE
 * holds {"threads": 1, "total": ..., "queries": [...]}. Instructions are counted by translated blocks, of all threads.
 * The declarations are those of qemu's plugin interface (qemu/qemu-plugin.h), which distributions ship without a header.
 * PLUGIN_API is 1 up to qemu 8, and 2 from qemu 9 on; what is used here is the same in both. Tried with qemu 7.2 alone.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

typedef uint64_t qemu_plugin_id_t;
typedef struct qemu_info_t qemu_info_t;
struct qemu_plugin_tb;
enum qemu_plugin_cb_flags { QEMU_PLUGIN_CB_NO_REGS };

extern void qemu_plugin_register_vcpu_init_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned int));
extern void qemu_plugin_register_vcpu_tb_trans_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, struct qemu_plugin_tb *));
extern size_t qemu_plugin_tb_n_insns(const struct qemu_plugin_tb *);
extern void qemu_plugin_register_vcpu_tb_exec_cb(
    struct qemu_plugin_tb *, void (*)(unsigned int, void *), enum qemu_plugin_cb_flags, void *);
extern void qemu_plugin_register_vcpu_syscall_cb(
    qemu_plugin_id_t, void (*)(qemu_plugin_id_t, unsigned int, int64_t, uint64_t, uint64_t, uint64_t, uint64_t,
                               uint64_t, uint64_t, uint64_t, uint64_t));
extern void qemu_plugin_register_atexit_cb(qemu_plugin_id_t, void (*)(qemu_plugin_id_t, void *), void *);

#define EXPORTED __attribute__((visibility("default")))
#define GETPRIORITY 141 /* on every architecture with the generic table of system calls, 64-bit ARM among them */
#define MARKER 12345

EXPORTED int qemu_plugin_version = PLUGIN_API;

static atomic_uint_fast64_t executed;
static atomic_uint threads;
static const char *output;
static uint64_t began, *queries;
static size_t count, room;

static void new_thread(qemu_plugin_id_t id, unsigned int cpu) { atomic_fetch_add(&threads, 1); }

static void run_block(unsigned int cpu, void *instructions) {
    /* plain addition: one thread runs at a time wherever the result is used, and a locked one costs much more */
    atomic_store_explicit(&executed,
        atomic_load_explicit(&executed, memory_order_relaxed) + (uintptr_t)instructions, memory_order_relaxed);
}

static void translate_block(qemu_plugin_id_t id, struct qemu_plugin_tb *block) {
    qemu_plugin_register_vcpu_tb_exec_cb(
        block, run_block, QEMU_PLUGIN_CB_NO_REGS, (void *)(uintptr_t)qemu_plugin_tb_n_insns(block));
}

static void system_call(qemu_plugin_id_t id, unsigned int cpu, int64_t number, uint64_t which, uint64_t who, uint64_t c,
                        uint64_t d, uint64_t e, uint64_t f, uint64_t g, uint64_t h) {
    if (number != GETPRIORITY || which != MARKER) return;
    if (who == 0) {
        began = executed;
        return;
    }
    if (count == room) {
        size_t larger = room ? 2 * room : 1024;
        uint64_t *moved = realloc(queries, larger * sizeof *queries);
        if (!moved) return;
        queries = moved;
        room = larger;
    }
    queries[count++] = executed - began;
}

static void end(qemu_plugin_id_t id, void *data) {
    FILE *file = output ? fopen(output, "w") : NULL;
    if (!file) return;
    fprintf(file, "{\"threads\": %u, \"total\": %llu, \"queries\": [", threads, (unsigned long long)executed);
    for (size_t i = 0; i < count; i++) fprintf(file, "%s%llu", i ? ", " : "", (unsigned long long)queries[i]);
    fputs("]}\n", file);
    fclose(file);
}

EXPORTED int qemu_plugin_install(qemu_plugin_id_t id, const qemu_info_t *info, int argc, char **argv) {
    for (int i = 0; i < argc; i++)
        if (!strncmp(argv[i], "out=", 4)) output = strdup(argv[i] + 4);
    qemu_plugin_register_vcpu_init_cb(id, new_thread);
    qemu_plugin_register_vcpu_tb_trans_cb(id, translate_block);
    qemu_plugin_register_vcpu_syscall_cb(id, system_call);
    qemu_plugin_register_atexit_cb(id, end, NULL);
    return 0;
}
