/* Stands between a process and the C library: one of the calls that change files under FAULT_UNDER fails.
 *
 * FAULT_AT    which one, counted from 1; 0 for none
 * FAULT_KEEP  set: it fails, and has done its work nevertheless; else it has done nothing
 * FAULT_COUNT where to write, at the end, how many there were
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/uio.h>
#include <unistd.h>

static atomic_long calls;

static int below(const char *path) {
    const char *under = getenv("FAULT_UNDER");
    return under && strncmp(path, under, strlen(under)) == 0;
}

static int file_below(int fd) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return below(path);
}

/* 0: go on; 1: fail at once; 2: fail afterwards. */
static int verdict(void) {
    const char *at = getenv("FAULT_AT");
    if (atomic_fetch_add(&calls, 1) + 1 != (at ? atol(at) : 0)) return 0;
    return getenv("FAULT_KEEP") ? 2 : 1;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define GUARD(ours, call)                  \
    do {                                   \
        int fate = (ours) ? verdict() : 0; \
        if (fate == 0) return call;        \
        if (fate == 2) (void)!(call);      \
        errno = EIO;                       \
        return -1;                         \
    } while (0)

ssize_t write(int fd, const void *data, size_t size) {
    GUARD(file_below(fd), REAL(write)(fd, data, size));
}
ssize_t writev(int fd, const struct iovec *parts, int count) {
    GUARD(file_below(fd), REAL(writev)(fd, parts, count));
}
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) {
    GUARD(file_below(fd), REAL(pwrite64)(fd, data, size, at));
}
int fsync(int fd) { GUARD(file_below(fd), REAL(fsync)(fd)); }
int fdatasync(int fd) { GUARD(file_below(fd), REAL(fdatasync)(fd)); }
int ftruncate64(int fd, off64_t size) { GUARD(file_below(fd), REAL(ftruncate64)(fd, size)); }
int rename(const char *from, const char *to) { GUARD(below(to), REAL(rename)(from, to)); }
int renameat(int at, const char *from, int into, const char *to) {
    GUARD(below(to), REAL(renameat)(at, from, into, to));
}
int unlink(const char *path) { GUARD(below(path), REAL(unlink)(path)); }

__attribute__((destructor)) static void tell(void) {
    const char *path = getenv("FAULT_COUNT");
    FILE *file = path ? fopen(path, "w") : NULL;
    if (file) {
        fprintf(file, "%ld", atomic_load(&calls));
        fclose(file);
    }
}
