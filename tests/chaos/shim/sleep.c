/* Goes before libfaketime in LD_PRELOAD: its clock_nanosleep (0.9.10) refuses absolute times of the monotonic clock with
 * EINVAL when that clock is left alone, and Python's time.sleep asks for those. The kernel takes them as they are. */
#define _GNU_SOURCE
#include <errno.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

int clock_nanosleep(clockid_t clock, int flags, const struct timespec *wanted, struct timespec *left) {
    int saved = errno;
    int result = syscall(SYS_clock_nanosleep, clock, flags, wanted, left) == 0 ? 0 : errno;
    errno = saved;
    return result;
}
