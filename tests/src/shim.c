/* Loaded before libc: makes calls that write a database fail, or ends the process at one of them.
 *
 * SHIM_FAIL     the name of a file; while it is there and says "OPERATION ERRNO", the operations of databases fail so.
 *               OPERATION is w (write, truncate) or s (sync). ERRNO 0: they hang for as long as it says so.
 * SHIM_KILL_AT  SIGKILL at the so-many-th of all these operations.
 * SHIM_TEAR     if set, half of what the last one was to write is written.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

static atomic_long calls;

/* A database or its log: neither its lock nor the index of the log, which is only for the processes that have it open. */
static int is_database(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    const char *name = strrchr(path, '/');
    const char *database = name ? strstr(name, ".db") : NULL;
    return database && !strstr(database, ".lock") && !strstr(database, "-shm");
}

/* Whether the operation is to fail; errno is set then. */
static int fails(char operation) {
    const char *name = getenv("SHIM_FAIL");
    FILE *file = name ? fopen(name, "re") : NULL;
    if (!file) return 0;
    char which = 0;
    int number = 0;
    int said = fscanf(file, "%c %d", &which, &number);
    fclose(file);
    if (said != 2 || which != operation) return 0;
    if (number == 0) {
        usleep(10000);
        return fails(operation);
    }
    errno = number;
    return 1;
}

static int is_last(void) {
    const char *last = getenv("SHIM_KILL_AT");
    return last && atomic_fetch_add(&calls, 1) + 1 == atol(last);
}

static void end(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* -1: the operation fails. */
static int meet(int fd, char operation) {
    if (!is_database(fd)) return 0;
    if (is_last()) end();
    return fails(operation) ? -1 : 0;
}

static ssize_t put(int fd, const void *bytes, size_t length, off_t at, int seeks) {
    if (is_database(fd)) {
        if (is_last()) {
            if (getenv("SHIM_TEAR")) {
                if (seeks) syscall(SYS_pwrite64, fd, bytes, length / 2, at);
                else syscall(SYS_write, fd, bytes, length / 2);
            }
            end();
        }
        if (fails('w')) return -1;
    }
    return seeks ? syscall(SYS_pwrite64, fd, bytes, length, at) : syscall(SYS_write, fd, bytes, length);
}

ssize_t write(int fd, const void *bytes, size_t length) { return put(fd, bytes, length, 0, 0); }
ssize_t pwrite(int fd, const void *bytes, size_t length, off_t at) { return put(fd, bytes, length, at, 1); }
ssize_t pwrite64(int fd, const void *bytes, size_t length, off_t at) { return put(fd, bytes, length, at, 1); }
int fsync(int fd) { return meet(fd, 's') ? -1 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return meet(fd, 's') ? -1 : syscall(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t length) { return meet(fd, 'w') ? -1 : syscall(SYS_ftruncate, fd, length); }
int ftruncate64(int fd, off_t length) { return meet(fd, 'w') ? -1 : syscall(SYS_ftruncate, fd, length); }
