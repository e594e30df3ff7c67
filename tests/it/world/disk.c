/* A disk that fails on demand: preloaded into a runner, it looks at a file before each operation on a file below a directory.
 * Lines of that file are `OPERATION FAULT VALUE`: `sync delay 200` (milliseconds), `write error 28`, `open error 30` (errno). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static int is_below(const char *path) {
    const char *directory = getenv("FAULTY_DIRECTORY");
    return directory && strncmp(path, directory, strlen(directory)) == 0;
}

static int is_ours(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = syscall(SYS_readlinkat, AT_FDCWD, link, path, sizeof path - 1);
    if (length <= 0) return 0;
    path[length] = 0;
    return is_below(path);
}

/* 0, or -1 with errno set. Delays are waited out here. */
static int ask(const char *operation) {
    const char *plan = getenv("FAULTS");
    char text[512];
    if (!plan) return 0;
    int fd = syscall(SYS_openat, AT_FDCWD, plan, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return 0;
    ssize_t length = syscall(SYS_read, fd, text, sizeof text - 1);
    syscall(SYS_close, fd);
    if (length <= 0) return 0;
    text[length] = 0;
    char *rest = text, *line;
    while ((line = strsep(&rest, "\n"))) {
        char which[16], fault[16];
        long value;
        if (sscanf(line, "%15s %15s %ld", which, fault, &value) != 3 || strcmp(which, operation)) continue;
        if (strcmp(fault, "delay") == 0) {
            struct timespec wait = {value / 1000, value % 1000 * 1000000};
            nanosleep(&wait, NULL);
        } else {
            errno = (int)value;
            return -1;
        }
    }
    return 0;
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t write(int fd, const void *bytes, size_t count) {
    return is_ours(fd) && ask("write") ? -1 : REAL(write)(fd, bytes, count);
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    return is_ours(fd) && ask("write") ? -1 : REAL(writev)(fd, parts, count);
}

ssize_t pwrite64(int fd, const void *bytes, size_t count, off64_t at) {
    return is_ours(fd) && ask("write") ? -1 : REAL(pwrite64)(fd, bytes, count, at);
}

int fsync(int fd) { return is_ours(fd) && ask("sync") ? -1 : REAL(fsync)(fd); }

int fdatasync(int fd) { return is_ours(fd) && ask("sync") ? -1 : REAL(fdatasync)(fd); }

int ftruncate64(int fd, off64_t length) { return is_ours(fd) && ask("write") ? -1 : REAL(ftruncate64)(fd, length); }

int open64(const char *path, int flags, ...) {
    va_list rest;
    va_start(rest, flags);
    int mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, int) : 0;
    va_end(rest);
    if ((flags & O_ACCMODE) != O_RDONLY && is_below(path) && ask("open")) return -1;
    return REAL(open64)(path, flags, mode);
}
