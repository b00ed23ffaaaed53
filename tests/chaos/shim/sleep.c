/* Goes before libfaketime in LD_PRELOAD. Two of its functions (0.9.10) are wrong when the monotonic clock is left alone:
 *
 * - its clock_nanosleep refuses absolute times of that clock with EINVAL, and Python's time.sleep asks for those;
 * - its pthread_cond_timedwait gives up at once, and whoever waits for Python's interpreter lock asks again and again.
 *
 * The kernel and the C library take such times as they are. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define DAY_S 86400

typedef int timed_wait(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

static timed_wait *of_library, *of_faketime;

__attribute__((constructor)) static void find(void) {
    void *library = dlopen("libc.so.6", RTLD_LAZY | RTLD_NOLOAD);
    of_library = library ? (timed_wait *)dlsym(library, "pthread_cond_timedwait") : NULL;
    of_faketime = (timed_wait *)dlsym(RTLD_NEXT, "pthread_cond_timedwait");
    if (!of_library || !of_faketime)
        abort();
}

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    int saved = errno;
    int result = syscall(SYS_clock_nanosleep, clock, flags, wanted, left) == 0 ? 0 : errno;
    errno = saved;
    return result;
}

/* A time within a day of the monotonic clock's is one of that clock: the wall clock counts from 1970. */
int pthread_cond_timedwait(pthread_cond_t *condition, pthread_mutex_t *mutex, const struct timespec *until) {
    struct timespec now;
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &now);
    long ahead_s = until->tv_sec - now.tv_sec;
    if (!of_library)
        find();
    return (ahead_s > -DAY_S && ahead_s < DAY_S ? of_library : of_faketime)(condition, mutex, until);
}
