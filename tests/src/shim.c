/* A library loaded before libc. It makes calls that write a database fail, or ends the process at such a call.
 *
 * SHIM_FAIL     The name of a file. While the file exists and contains "OPERATION ERRNO", this operation fails with this
 *               error for all databases. OPERATION is w (write, truncate) or s (sync). If ERRNO is 0, the operation
 *               hangs for as long as the file contains this.
 * SHIM_KILL_AT  A number N. The process is ended by SIGKILL at its Nth write, truncate or sync of a database.
 * SHIM_TEAR     If set, the first half of the data of that Nth operation is written before the kill.
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

/* Whether the file is a database or its write-ahead log. The lock file and the index of the log (-shm) do not count. */
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

/* Whether the operation must fail. If so, errno is set. */
static int fails(char operation) {
    const char *name = getenv("SHIM_FAIL");
    FILE *file = name ? fopen(name, "re") : NULL;
    if (!file) return 0;
    char which = 0;
    int number = 0;
    int items = fscanf(file, "%c %d", &which, &number);
    fclose(file);
    if (items != 2 || which != operation) return 0;
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

/* Called before each truncate and sync. Returns -1 if the operation must fail. */
static int before_call(int fd, char operation) {
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
int fsync(int fd) { return before_call(fd, 's') ? -1 : syscall(SYS_fsync, fd); }
int fdatasync(int fd) { return before_call(fd, 's') ? -1 : syscall(SYS_fdatasync, fd); }
int ftruncate(int fd, off_t length) { return before_call(fd, 'w') ? -1 : syscall(SYS_ftruncate, fd, length); }
int ftruncate64(int fd, off_t length) { return before_call(fd, 'w') ? -1 : syscall(SYS_ftruncate, fd, length); }
