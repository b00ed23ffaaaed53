/* A disk that forgets: LD_PRELOAD notes how to undo everything under POWERLOSS_ROOT that was not yet fsynced.
 *
 * Writes go through at once, so all processes see one file system. Before each change a record with the old bytes, the
 * old size or the old name is appended to POWERLOSS_JOURNAL (one file of all processes; one write(2) with O_APPEND a
 * record, so they do not tear). fsync and fdatasync append a record too, when they return: what was noted before they
 * began is durable. tests/chaos/forgetful_disk.py reads the journal after the processes were killed and takes back what
 * is not. fsync of a file does not make its name durable; fsync of its folder does (POSIX; stricter than ext4).
 *
 * A file that is removed or replaced gets a second name in POWERLOSS_GRAVEYARD, so that it can come back, and so that no
 * inode number is used twice. What changes a file through mmap is not seen; SQLite does that with -shm only, which
 * needs to survive nothing.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

#define MAGIC 0x4f444e55u /* "UNDO" */
#define FIRST_FD 700

/* One record: this header, then path_len bytes of path, other_len bytes of a second path, data_len old bytes. */
struct record {
    uint32_t magic;
    uint32_t kind; /* 'W' write, 'T' size, 'S' synced; names: 'C' created, 'U' removed, 'R' renamed, 'D' folder removed */
    uint64_t inode;
    uint64_t offset;   /* W: where; T: the size after; S: length of the journal when the fsync began; R: inode renamed */
    uint64_t length;   /* W: how much is written over */
    uint64_t old_size; /* W, T: of the file */
    uint64_t grave;    /* U, R: name in the graveyard of what was removed or replaced; 0 for nothing */
    uint32_t path_len, other_len, data_len, check;
};

static char root[PATH_MAX], graveyard[PATH_MAX];
static size_t root_len;
static int journal = -1;
static useconds_t sync_us;
static _Atomic uint64_t graves;

static ssize_t (*real_write)(int, const void *, size_t);
static ssize_t (*real_pwrite)(int, const void *, size_t, off_t);
static ssize_t (*real_writev)(int, const struct iovec *, int);
static ssize_t (*real_pwritev)(int, const struct iovec *, int, off_t);
static ssize_t (*real_sendfile)(int, int, off_t *, size_t);
static ssize_t (*real_copy_file_range)(int, off64_t *, int, off64_t *, size_t, unsigned);
static int (*real_openat)(int, const char *, int, ...);
static int (*real_ftruncate)(int, off_t);
static int (*real_fallocate)(int, int, off_t, off_t);
static int (*real_posix_fallocate)(int, off_t, off_t);
static int (*real_renameat)(int, const char *, int, const char *);
static int (*real_unlinkat)(int, const char *, int);
static int (*real_mkdirat)(int, const char *, mode_t);
static int (*real_symlinkat)(const char *, int, const char *);
static int (*real_linkat)(int, const char *, int, const char *, int);

static void die(const char *what) {
    char text[200];
    int n = snprintf(text, sizeof text, "powerloss shim: %s: %s\n", what, strerror(errno));
    if (real_write && n > 0) real_write(2, text, (size_t)n);
    abort(); /* a record that is missing would make the disk look better than it is */
}

static void *find(const char *name) {
    void *symbol = dlsym(RTLD_NEXT, name);
    if (!symbol) die(name);
    return symbol;
}

__attribute__((constructor)) static void begin(void) {
    static int begun;
    if (begun) return;
    begun = 1;
    real_write = find("write");
    real_pwrite = find("pwrite64");
    real_writev = find("writev");
    real_pwritev = find("pwritev64");
    real_sendfile = find("sendfile64");
    real_copy_file_range = find("copy_file_range");
    real_openat = find("openat64");
    real_ftruncate = find("ftruncate64");
    real_fallocate = find("fallocate64");
    real_posix_fallocate = find("posix_fallocate64");
    real_renameat = find("renameat");
    real_unlinkat = find("unlinkat");
    real_mkdirat = find("mkdirat");
    real_symlinkat = find("symlinkat");
    real_linkat = find("linkat");
    const char *r = getenv("POWERLOSS_ROOT"), *g = getenv("POWERLOSS_GRAVEYARD"), *j = getenv("POWERLOSS_JOURNAL");
    const char *us = getenv("POWERLOSS_FSYNC_US");
    if (!r || !g || !j || !realpath(r, root) || !realpath(g, graveyard)) return;
    root_len = strlen(root);
    sync_us = us ? (useconds_t)atoi(us) : 0;
    int fd = real_openat(AT_FDCWD, j, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
    if (fd < 0) die("journal");
    journal = fcntl(fd, F_DUPFD_CLOEXEC, FIRST_FD); /* out of the way of programs that count on low numbers */
    if (journal < 0) die("journal");
    close(fd);
}

static int inside(const char *path) {
    return journal >= 0 && strncmp(path, root, root_len) == 0 && (path[root_len] == '/' || path[root_len] == 0);
}

static int is_shm(const char *path) {
    size_t n = strlen(path);
    return n > 4 && strcmp(path + n - 4, "-shm") == 0;
}

/* The path of an open descriptor; 0 when it is no path. */
static int path_of_fd(int fd, char *path) {
    char link[40];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, PATH_MAX - 1);
    if (n <= 0 || path[0] != '/') return 0;
    path[n] = 0;
    return 1;
}

/* The absolute path of a name, its folder's links resolved; 0 when it lies outside the root. */
static int path_at(int dirfd, const char *name, char *path) {
    char folder[PATH_MAX], joined[PATH_MAX * 2], real[PATH_MAX];
    if (journal < 0 || !name || !*name) return 0;
    if (*name == '/') {
        snprintf(joined, sizeof joined, "%s", name);
    } else {
        if (dirfd == AT_FDCWD ? !getcwd(folder, sizeof folder) : !path_of_fd(dirfd, folder)) return 0;
        snprintf(joined, sizeof joined, "%s/%s", folder, name);
    }
    size_t n = strlen(joined);
    while (n > 1 && joined[n - 1] == '/') joined[--n] = 0;
    char *last = strrchr(joined, '/');
    if (!last) return 0;
    *last = 0;
    if (!realpath(*joined ? joined : "/", real)) return 0;
    if ((size_t)snprintf(path, PATH_MAX, "%s/%s", real, last + 1) >= PATH_MAX) return 0;
    return inside(path);
}

static void note(struct record r, const char *path, const char *other, const void *data) {
    r.magic = MAGIC;
    r.path_len = path ? (uint32_t)strlen(path) : 0;
    r.other_len = other ? (uint32_t)strlen(other) : 0;
    r.check = (uint32_t)(r.kind ^ r.inode ^ r.offset ^ r.length ^ r.path_len ^ r.other_len ^ r.data_len);
    struct iovec parts[4] = {
        {&r, sizeof r}, {(void *)path, r.path_len}, {(void *)other, r.other_len}, {(void *)data, r.data_len}};
    ssize_t wanted = (ssize_t)(sizeof r + r.path_len + r.other_len + r.data_len);
    int saved = errno;
    if (real_writev(journal, parts, 4) != wanted) die("journal");
    errno = saved;
}

/* Is this descriptor a file of the root that has to be watched? Fills in what stat says. */
static int watched(int fd, struct stat *st) {
    char path[PATH_MAX];
    if (journal < 0 || fd == journal) return 0;
    int saved = errno;
    int is = fstat(fd, st) == 0 && S_ISREG(st->st_mode) && path_of_fd(fd, path) && inside(path) && !is_shm(path);
    errno = saved;
    return is;
}

/* Old bytes of a file. A second descriptor is used only where this one cannot read: closing any descriptor of a file
 * would take away the POSIX locks that SQLite holds on it. */
static void *read_old(int fd, off_t offset, size_t length, size_t *got) {
    char link[40];
    *got = 0;
    if (!length) return NULL;
    char *old = malloc(length);
    if (!old) die("malloc");
    int reader = fd, own = (fcntl(fd, F_GETFL) & O_ACCMODE) == O_WRONLY;
    if (own) {
        snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
        reader = real_openat(AT_FDCWD, link, O_RDONLY | O_CLOEXEC);
        if (reader < 0) die("old bytes");
    }
    while (*got < length) {
        ssize_t n = pread64(reader, old + *got, length - *got, offset + (off_t)*got);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) break;
        *got += (size_t)n;
    }
    if (own) close(reader);
    return old;
}

static void note_write(int fd, off_t offset, size_t length) {
    struct stat st;
    if (!length || !watched(fd, &st)) return;
    int saved = errno;
    if (offset < 0) {
        int flags = fcntl(fd, F_GETFL);
        offset = flags & O_APPEND ? st.st_size : lseek64(fd, 0, SEEK_CUR);
    }
    size_t known = 0, there = st.st_size > offset ? (size_t)(st.st_size - offset) : 0;
    void *old = read_old(fd, offset, there < length ? there : length, &known);
    note((struct record){.kind = 'W', .inode = st.st_ino, .offset = (uint64_t)offset, .length = length,
                         .old_size = (uint64_t)st.st_size, .data_len = (uint32_t)known}, NULL, NULL, old);
    free(old);
    errno = saved;
}

static void note_size(int fd, const struct stat *st, off_t size) {
    size_t known = 0, lost = st->st_size > size ? (size_t)(st->st_size - size) : 0;
    void *old = read_old(fd, size, lost, &known);
    note((struct record){.kind = 'T', .inode = st->st_ino, .offset = (uint64_t)size, .length = lost,
                         .old_size = (uint64_t)st->st_size, .data_len = (uint32_t)known}, NULL, NULL, old);
    free(old);
}

/* -- data -- */

ssize_t write(int fd, const void *data, size_t n) {
    begin();
    note_write(fd, -1, n);
    return real_write(fd, data, n);
}

ssize_t pwrite64(int fd, const void *data, size_t n, off64_t offset) {
    begin();
    note_write(fd, offset, n);
    return real_pwrite(fd, data, n, offset);
}

ssize_t pwrite(int fd, const void *data, size_t n, off_t offset) { return pwrite64(fd, data, n, offset); }

static size_t total(const struct iovec *parts, int count) {
    size_t sum = 0;
    for (int i = 0; i < count; i++) sum += parts[i].iov_len;
    return sum;
}

ssize_t writev(int fd, const struct iovec *parts, int count) {
    begin();
    note_write(fd, -1, total(parts, count));
    return real_writev(fd, parts, count);
}

ssize_t pwritev64(int fd, const struct iovec *parts, int count, off64_t offset) {
    begin();
    note_write(fd, offset, total(parts, count));
    return real_pwritev(fd, parts, count, offset);
}

ssize_t pwritev(int fd, const struct iovec *parts, int count, off_t offset) {
    return pwritev64(fd, parts, count, offset);
}

ssize_t sendfile64(int out, int in, off64_t *offset, size_t n) {
    begin();
    struct stat st;
    if (fstat(in, &st) == 0 && S_ISREG(st.st_mode) && (size_t)st.st_size < n) n = (size_t)st.st_size;
    note_write(out, -1, n);
    return real_sendfile(out, in, offset, n);
}

ssize_t sendfile(int out, int in, off_t *offset, size_t n) { return sendfile64(out, in, offset, n); }

ssize_t copy_file_range(int in, off64_t *from, int out, off64_t *to, size_t n, unsigned flags) {
    begin();
    struct stat st;
    if (fstat(in, &st) == 0 && (size_t)st.st_size < n) n = (size_t)st.st_size;
    note_write(out, to ? *to : -1, n);
    return real_copy_file_range(in, from, out, to, n, flags);
}

int ftruncate64(int fd, off64_t size) {
    begin();
    struct stat st;
    if (watched(fd, &st) && st.st_size != size) note_size(fd, &st, size);
    return real_ftruncate(fd, size);
}

int ftruncate(int fd, off_t size) { return ftruncate64(fd, size); }

int truncate64(const char *path, off64_t size) {
    begin();
    int fd = real_openat(AT_FDCWD, path, O_RDWR | O_CLOEXEC);
    if (fd < 0) return -1;
    int result = ftruncate64(fd, size);
    int saved = errno;
    close(fd);
    errno = saved;
    return result;
}

int truncate(const char *path, off_t size) { return truncate64(path, size); }

static void note_growth(int fd, off_t size) {
    struct stat st;
    if (watched(fd, &st) && st.st_size < size) note_size(fd, &st, size);
}

int posix_fallocate64(int fd, off64_t offset, off64_t length) {
    begin();
    note_growth(fd, offset + length);
    return real_posix_fallocate(fd, offset, length);
}

int posix_fallocate(int fd, off_t offset, off_t length) { return posix_fallocate64(fd, offset, length); }

int fallocate64(int fd, int mode, off64_t offset, off64_t length) {
    begin();
    if (!(mode & FALLOC_FL_KEEP_SIZE)) note_growth(fd, offset + length);
    return real_fallocate(fd, mode, offset, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length) { return fallocate64(fd, mode, offset, length); }

/* The real fsync would only make the test slow; the pause gives the kill time to come before it is done. */
static int sync_fd(int fd) {
    begin();
    char path[PATH_MAX];
    struct stat st;
    if (fstat(fd, &st) < 0) return -1;
    if (journal < 0 || !path_of_fd(fd, path) || !inside(path)) return 0;
    uint64_t begun = (uint64_t)lseek64(journal, 0, SEEK_END);
    if (sync_us) usleep(sync_us);
    int is_folder = S_ISDIR(st.st_mode);
    note((struct record){.kind = 'S', .inode = st.st_ino, .offset = begun}, is_folder ? path : NULL, NULL, NULL);
    return 0;
}

int fsync(int fd) { return sync_fd(fd); }

int fdatasync(int fd) { return sync_fd(fd); }

/* -- names -- */

static void note_created(int dirfd, const char *name) {
    char path[PATH_MAX];
    struct stat st;
    int saved = errno;
    if (path_at(dirfd, name, path) && !is_shm(path) && lstat(path, &st) < 0 && errno == ENOENT)
        note((struct record){.kind = 'C'}, path, NULL, NULL);
    errno = saved;
}

/* Gives what is about to lose its name another one; returns its number. */
static uint64_t bury(const char *path) {
    char grave[PATH_MAX + 64];
    uint64_t number = ((uint64_t)getpid() << 32) + atomic_fetch_add(&graves, 1) + 1;
    snprintf(grave, sizeof grave, "%s/%llu", graveyard, (unsigned long long)number);
    if (real_linkat(AT_FDCWD, path, AT_FDCWD, grave, 0) < 0) {
        if (errno == ENOENT) return 0;
        die(path);
    }
    return number;
}

static int open_at(int dirfd, const char *name, int flags, mode_t mode) {
    begin();
    if (flags & O_CREAT) note_created(dirfd, name);
    if ((flags & O_TRUNC) && (flags & O_ACCMODE) != O_RDONLY) {
        int fd = real_openat(dirfd, name, (flags & ~(O_TRUNC | O_CREAT | O_EXCL)) | O_CLOEXEC);
        struct stat st;
        if (fd >= 0) {
            if (watched(fd, &st) && st.st_size > 0) note_size(fd, &st, 0);
            close(fd);
        }
    }
    return real_openat(dirfd, name, flags, mode);
}

#define MODE_OF(flags)                                     \
    mode_t mode = 0;                                       \
    if ((flags) & (O_CREAT | O_TMPFILE)) {                 \
        va_list rest;                                      \
        va_start(rest, flags);                             \
        mode = va_arg(rest, mode_t);                       \
        va_end(rest);                                      \
    }

int open(const char *name, int flags, ...) { MODE_OF(flags) return open_at(AT_FDCWD, name, flags, mode); }
int open64(const char *name, int flags, ...) { MODE_OF(flags) return open_at(AT_FDCWD, name, flags, mode); }
int openat(int dirfd, const char *name, int flags, ...) { MODE_OF(flags) return open_at(dirfd, name, flags, mode); }
int openat64(int dirfd, const char *name, int flags, ...) { MODE_OF(flags) return open_at(dirfd, name, flags, mode); }
int creat(const char *name, mode_t mode) { return open_at(AT_FDCWD, name, O_CREAT | O_TRUNC | O_WRONLY, mode); }

int renameat(int from_fd, const char *from, int to_fd, const char *to) {
    begin();
    char old[PATH_MAX], new[PATH_MAX];
    struct stat st, replaced;
    int saved = errno;
    if (path_at(from_fd, from, old) && path_at(to_fd, to, new) && lstat(old, &st) == 0) {
        uint64_t grave = lstat(new, &replaced) == 0 && S_ISREG(replaced.st_mode) ? bury(new) : 0;
        note((struct record){.kind = 'R', .inode = st.st_ino, .grave = grave}, old, new, NULL);
    }
    errno = saved;
    return real_renameat(from_fd, from, to_fd, to);
}

int rename(const char *from, const char *to) { return renameat(AT_FDCWD, from, AT_FDCWD, to); }

int unlinkat(int dirfd, const char *name, int flags) {
    begin();
    char path[PATH_MAX];
    struct stat st;
    int saved = errno;
    if (path_at(dirfd, name, path) && !is_shm(path) && lstat(path, &st) == 0) {
        if (flags & AT_REMOVEDIR)
            note((struct record){.kind = 'D'}, path, NULL, NULL);
        else if (S_ISREG(st.st_mode))
            note((struct record){.kind = 'U', .grave = bury(path)}, path, NULL, NULL);
    }
    errno = saved;
    return real_unlinkat(dirfd, name, flags);
}

int unlink(const char *name) { return unlinkat(AT_FDCWD, name, 0); }

int rmdir(const char *name) { return unlinkat(AT_FDCWD, name, AT_REMOVEDIR); }

int remove(const char *name) {
    struct stat st;
    if (lstat(name, &st) < 0) return -1;
    return unlinkat(AT_FDCWD, name, S_ISDIR(st.st_mode) ? AT_REMOVEDIR : 0);
}

int mkdirat(int dirfd, const char *name, mode_t mode) {
    begin();
    note_created(dirfd, name);
    return real_mkdirat(dirfd, name, mode);
}

int mkdir(const char *name, mode_t mode) { return mkdirat(AT_FDCWD, name, mode); }

int symlinkat(const char *target, int dirfd, const char *name) {
    begin();
    note_created(dirfd, name);
    return real_symlinkat(target, dirfd, name);
}

int symlink(const char *target, const char *name) { return symlinkat(target, AT_FDCWD, name); }

int linkat(int from_fd, const char *from, int to_fd, const char *to, int flags) {
    begin();
    note_created(to_fd, to);
    return real_linkat(from_fd, from, to_fd, to, flags);
}

int link(const char *from, const char *to) { return linkat(AT_FDCWD, from, AT_FDCWD, to, 0); }
