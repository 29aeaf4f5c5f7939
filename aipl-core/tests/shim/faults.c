/*
 * Faults on demand for tests of a bank's survival: a library that is loaded before libc (LD_PRELOAD) and counts the
 * system calls of a process on the files below one directory. At a call of the tester's choice it kills the process,
 * or lets the call fail, or lets it do a part of its work only.
 *
 *   AIPL_FAULT_ROOT    the directory, absolute and without links; without it nothing is done
 *   AIPL_FAULT_CALLS   the classes that count, joined by commas, or "all" (see NAMES; "all" leaves out reading)
 *   AIPL_FAULT_AT      at which call the fault comes, from 1 on; 0 for never
 *   AIPL_FAULT_DO      kill, tear, eio, enospc, eintr, short
 *                        kill   SIGKILL before the call
 *                        tear   a write writes half of its bytes and then SIGKILL comes; else as kill
 *                        short  a write or a read does half of its bytes; else nothing
 *   AIPL_FAULT_UNTIL   once (default): at this call alone; ever: at this and all later ones (eintr for ever never ends)
 *   AIPL_FAULT_ARM     a path: calls count from the moment on when it is unlinked (it need not exist)
 *   AIPL_FAULT_DISARM  a path: calls count no more from the moment on when it is unlinked
 *   AIPL_FAULT_COUNTS  a file of COUNT_BYTES bytes: the counts by class as 64-bit integers in the order of NAMES, then
 *                      how often the fault came; kept up to date by a shared mapping, so that they outlive a kill
 *   AIPL_FAULT_NOLOCK  1: flock does nothing and says that it did
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/types.h>
#include <sys/uio.h>
#include <unistd.h>

enum class {
    WRITE, SYNC, LINK, RENAME, UNLINK, TRUNCATE, CREATE, OPEN, CLOSE, MKDIR, MODE, LOCK, READ,
    CLASSES, FIRED = CLASSES, COUNTS
};
static const char *const NAMES[CLASSES] = {
    "write", "sync", "link", "rename", "unlink", "truncate", "create", "open", "close", "mkdir", "mode", "lock", "read"
};
enum action { NOTHING, KILL, TEAR, FAIL, SHORT };
#define COUNT_BYTES (COUNTS * sizeof(uint64_t))
#define FILES 4096

static struct {
    int on, nolock, armed, ever, error;
    enum action action;
    char root[PATH_MAX], arm[PATH_MAX], disarm[PATH_MAX];
    size_t root_length;
    uint64_t at, classes, calls;
    uint64_t *counts, own[COUNTS];
} shim;

/* Whether a descriptor is of a file below the directory. */
static unsigned char ours[FILES];

static void *real(const char *name) {
    void *found = dlsym(RTLD_NEXT, name);
    if (!found) abort();
    return found;
}
#define REAL(name, type) \
    static __typeof__(type) known; \
    if (!known) known = (__typeof__(type))real(name)

static void copy_variable(const char *name, char *into) {
    const char *value = getenv(name);
    if (value && strlen(value) < PATH_MAX) strcpy(into, value);
}

static void read_action(void) {
    const char *word = getenv("AIPL_FAULT_DO");
    const char *until = getenv("AIPL_FAULT_UNTIL");
    shim.ever = until && !strcmp(until, "ever");
    shim.action = NOTHING;
    if (!word) return;
    if (!strcmp(word, "kill")) shim.action = KILL;
    else if (!strcmp(word, "tear")) shim.action = TEAR;
    else if (!strcmp(word, "short")) shim.action = SHORT;
    else {
        shim.action = FAIL;
        shim.error = !strcmp(word, "enospc") ? ENOSPC : !strcmp(word, "eintr") ? EINTR : EIO;
    }
}

static void read_classes(void) {
    const char *words = getenv("AIPL_FAULT_CALLS");
    if (!words || !strcmp(words, "all")) {
        shim.classes = ((1u << CLASSES) - 1) & ~(1u << READ) & ~(1u << OPEN);
        return;
    }
    for (int class = 0; class < CLASSES; class++) {
        size_t length = strlen(NAMES[class]);
        for (const char *at = words; (at = strstr(at, NAMES[class])); at += length) {
            int begins = at == words || at[-1] == ',', ends = !at[length] || at[length] == ',';
            if (begins && ends) shim.classes |= 1u << class;
        }
    }
}

static void map_counts(void) {
    const char *path = getenv("AIPL_FAULT_COUNTS");
    int (*open_file)(const char *, int, ...) = (int (*)(const char *, int, ...))real("open");
    int (*close_file)(int) = (int (*)(int))real("close");
    int file = path ? open_file(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *mapped = mmap(NULL, COUNT_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (mapped != MAP_FAILED) shim.counts = mapped;
    close_file(file);
}

__attribute__((constructor)) static void start(void) {
    const char *at = getenv("AIPL_FAULT_AT"), *nolock = getenv("AIPL_FAULT_NOLOCK");
    shim.counts = shim.own;
    copy_variable("AIPL_FAULT_ROOT", shim.root);
    copy_variable("AIPL_FAULT_ARM", shim.arm);
    copy_variable("AIPL_FAULT_DISARM", shim.disarm);
    shim.root_length = strlen(shim.root);
    shim.on = shim.root_length > 0;
    shim.nolock = nolock && *nolock == '1';
    shim.at = at ? strtoull(at, NULL, 10) : 0;
    shim.armed = !*shim.arm;
    read_action();
    read_classes();
    map_counts();
}

static int below_root(const char *path) {
    return !strncmp(path, shim.root, shim.root_length) && (!path[shim.root_length] || path[shim.root_length] == '/');
}

/* The absolute path of a name; links in it are not followed, which the tests need not. */
static const char *resolve(int folder, const char *path, char *into) {
    if (path[0] == '/') return path;
    char base[64];
    ssize_t length;
    if (folder == AT_FDCWD) {
        if (!getcwd(into, PATH_MAX)) return path;
        length = (ssize_t)strlen(into);
    } else {
        strcpy(base, "/proc/self/fd/");
        char *end = base + strlen(base);
        char digits[16];
        int count = 0;
        for (int rest = folder; rest || !count; rest /= 10) digits[count++] = (char)('0' + rest % 10);
        while (count) *end++ = digits[--count];
        *end = 0;
        length = readlink(base, into, PATH_MAX - 1);
        if (length < 0) return path;
    }
    if (!strcmp(path, ".") || !*path) {
        into[length] = 0;
        return into;
    }
    if ((size_t)length + strlen(path) + 2 > PATH_MAX) return path;
    into[length] = '/';
    strcpy(into + length + 1, path);
    return into;
}

static int is_ours(int folder, const char *path) {
    char into[PATH_MAX];
    return shim.on && path && below_root(resolve(folder, path, into));
}

static int file_is_ours(int file) {
    return shim.on && file >= 0 && file < FILES && ours[file];
}

static void mark(int file, int own) {
    if (file >= 0 && file < FILES) ours[file] = (unsigned char)own;
}

static void die(void) {
    kill(getpid(), SIGKILL);
    for (;;) pause();
}

/* Counts a call, and says what is to be done at it. A kill that needs no part of the call is done here. */
static enum action next(enum class class) {
    if (!__atomic_load_n(&shim.armed, __ATOMIC_SEQ_CST)) return NOTHING;
    __atomic_add_fetch(&shim.counts[class], 1, __ATOMIC_SEQ_CST);
    if (!(shim.classes >> class & 1)) return NOTHING;
    uint64_t call = __atomic_add_fetch(&shim.calls, 1, __ATOMIC_SEQ_CST);
    if (!shim.at || call < shim.at || (call > shim.at && !shim.ever)) return NOTHING;
    __atomic_add_fetch(&shim.counts[FIRED], 1, __ATOMIC_SEQ_CST);
    if (shim.action == KILL || (shim.action == TEAR && class != WRITE)) die();
    if (shim.action == FAIL) errno = shim.error;
    if (shim.action == SHORT && class != WRITE && class != READ) return NOTHING;
    return shim.action;
}

/* Calls that do their work or fail. */
#define FAILS(class, own) ((own) && next(class) == FAIL)

/* Calls that move bytes: how many this one may move, or -1 where it fails. */
static ssize_t allowed(enum class class, int file, size_t bytes, int *die_after) {
    *die_after = 0;
    if (!file_is_ours(file)) return (ssize_t)bytes;
    switch (next(class)) {
    case FAIL: return -1;
    case TEAR: *die_after = 1; return (ssize_t)(bytes / 2);
    case SHORT: return (ssize_t)(bytes > 1 ? bytes / 2 : bytes);
    default: return (ssize_t)bytes;
    }
}

#define MOVES(class, call) \
    int die_after; \
    ssize_t may = allowed(class, file, bytes, &die_after); \
    if (may < 0) return -1; \
    bytes = (size_t)may; \
    ssize_t moved = call; \
    if (die_after) die(); \
    return moved

ssize_t write(int file, const void *from, size_t bytes) {
    REAL("write", ssize_t (*)(int, const void *, size_t));
    MOVES(WRITE, known(file, from, bytes));
}

ssize_t pwrite(int file, const void *from, size_t bytes, off_t at) {
    REAL("pwrite", ssize_t (*)(int, const void *, size_t, off_t));
    MOVES(WRITE, known(file, from, bytes, at));
}

ssize_t pwrite64(int file, const void *from, size_t bytes, off_t at) {
    REAL("pwrite64", ssize_t (*)(int, const void *, size_t, off_t));
    MOVES(WRITE, known(file, from, bytes, at));
}

ssize_t read(int file, void *into, size_t bytes) {
    REAL("read", ssize_t (*)(int, void *, size_t));
    MOVES(READ, known(file, into, bytes));
}

ssize_t pread(int file, void *into, size_t bytes, off_t at) {
    REAL("pread", ssize_t (*)(int, void *, size_t, off_t));
    MOVES(READ, known(file, into, bytes, at));
}

ssize_t pread64(int file, void *into, size_t bytes, off_t at) {
    REAL("pread64", ssize_t (*)(int, void *, size_t, off_t));
    MOVES(READ, known(file, into, bytes, at));
}

/* Of several pieces a short write writes the first alone. */
ssize_t writev(int file, const struct iovec *pieces, int count) {
    REAL("writev", ssize_t (*)(int, const struct iovec *, int));
    int die_after;
    size_t bytes = 0;
    for (int piece = 0; piece < count; piece++) bytes += pieces[piece].iov_len;
    ssize_t may = allowed(WRITE, file, bytes, &die_after);
    if (may < 0) return -1;
    ssize_t moved = known(file, pieces, (size_t)may < bytes && count > 1 ? 1 : count);
    if (die_after) die();
    return moved;
}

/* Copying within the kernel is cut short by a signal, and not refused. */
#define COPIES(call) \
    if (shim.error == EINTR && shim.action == FAIL) return call; \
    MOVES(WRITE, call)

ssize_t copy_file_range(int from, off_t *from_at, int file, off_t *at, size_t bytes, unsigned flags) {
    REAL("copy_file_range", ssize_t (*)(int, off_t *, int, off_t *, size_t, unsigned));
    COPIES(known(from, from_at, file, at, bytes, flags));
}

ssize_t sendfile64(int file, int from, off_t *at, size_t bytes) {
    REAL("sendfile64", ssize_t (*)(int, int, off_t *, size_t));
    COPIES(known(file, from, at, bytes));
}

int fsync(int file) {
    REAL("fsync", int (*)(int));
    return FAILS(SYNC, file_is_ours(file)) ? -1 : known(file);
}

int fdatasync(int file) {
    REAL("fdatasync", int (*)(int));
    return FAILS(SYNC, file_is_ours(file)) ? -1 : known(file);
}

int link(const char *from, const char *to) {
    REAL("link", int (*)(const char *, const char *));
    return FAILS(LINK, is_ours(AT_FDCWD, to)) ? -1 : known(from, to);
}

int linkat(int from_folder, const char *from, int to_folder, const char *to, int flags) {
    REAL("linkat", int (*)(int, const char *, int, const char *, int));
    return FAILS(LINK, is_ours(to_folder, to)) ? -1 : known(from_folder, from, to_folder, to, flags);
}

int rename(const char *from, const char *to) {
    REAL("rename", int (*)(const char *, const char *));
    return FAILS(RENAME, is_ours(AT_FDCWD, to)) ? -1 : known(from, to);
}

int renameat(int from_folder, const char *from, int to_folder, const char *to) {
    REAL("renameat", int (*)(int, const char *, int, const char *));
    return FAILS(RENAME, is_ours(to_folder, to)) ? -1 : known(from_folder, from, to_folder, to);
}

int renameat2(int from_folder, const char *from, int to_folder, const char *to, unsigned flags) {
    REAL("renameat2", int (*)(int, const char *, int, const char *, unsigned));
    return FAILS(RENAME, is_ours(to_folder, to)) ? -1 : known(from_folder, from, to_folder, to, flags);
}

/* The two names by which a test says from when and until when calls count. */
static int is_signal(const char *path) {
    if (!path || path[0] != '/') return 0;
    int arms = *shim.arm && !strcmp(path, shim.arm), disarms = *shim.disarm && !strcmp(path, shim.disarm);
    if (arms || disarms) __atomic_store_n(&shim.armed, arms, __ATOMIC_SEQ_CST);
    return arms || disarms;
}

int unlink(const char *path) {
    REAL("unlink", int (*)(const char *));
    if (is_signal(path)) return 0;
    return FAILS(UNLINK, is_ours(AT_FDCWD, path)) ? -1 : known(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL("unlinkat", int (*)(int, const char *, int));
    if (is_signal(path)) return 0;
    return FAILS(UNLINK, is_ours(folder, path)) ? -1 : known(folder, path, flags);
}

int rmdir(const char *path) {
    REAL("rmdir", int (*)(const char *));
    return FAILS(UNLINK, is_ours(AT_FDCWD, path)) ? -1 : known(path);
}

int ftruncate(int file, off_t length) {
    REAL("ftruncate", int (*)(int, off_t));
    return FAILS(TRUNCATE, file_is_ours(file)) ? -1 : known(file, length);
}

int ftruncate64(int file, off_t length) {
    REAL("ftruncate64", int (*)(int, off_t));
    return FAILS(TRUNCATE, file_is_ours(file)) ? -1 : known(file, length);
}

int mkdir(const char *path, mode_t mode) {
    REAL("mkdir", int (*)(const char *, mode_t));
    return FAILS(MKDIR, is_ours(AT_FDCWD, path)) ? -1 : known(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL("mkdirat", int (*)(int, const char *, mode_t));
    return FAILS(MKDIR, is_ours(folder, path)) ? -1 : known(folder, path, mode);
}

int fchmod(int file, mode_t mode) {
    REAL("fchmod", int (*)(int, mode_t));
    return FAILS(MODE, file_is_ours(file)) ? -1 : known(file, mode);
}

int chmod(const char *path, mode_t mode) {
    REAL("chmod", int (*)(const char *, mode_t));
    return FAILS(MODE, is_ours(AT_FDCWD, path)) ? -1 : known(path, mode);
}

/* The descriptor is gone even where closing fails, as with Linux. */
int close(int file) {
    REAL("close", int (*)(int));
    int own = file_is_ours(file);
    mark(file, 0);
    if (!FAILS(CLOSE, own)) return known(file);
    int error = errno;
    known(file);
    errno = error;
    return -1;
}

int flock(int file, int how) {
    REAL("flock", int (*)(int, int));
    int own = file_is_ours(file);
    if (own && shim.nolock) return 0;
    return FAILS(LOCK, own) ? -1 : known(file, how);
}

static int controlled(int (*known)(int, int, ...), int file, int command, void *argument) {
    int own = file_is_ours(file);
    int locks = command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW;
    if (locks && FAILS(LOCK, own)) return -1;
    int result = known(file, command, argument);
    if (command == F_DUPFD || command == F_DUPFD_CLOEXEC) mark(result, own);
    return result;
}

#define CONTROL \
    va_list list; \
    va_start(list, command); \
    void *argument = va_arg(list, void *); \
    va_end(list); \
    return controlled(known, file, command, argument)

int fcntl(int file, int command, ...) {
    REAL("fcntl", int (*)(int, int, ...));
    CONTROL;
}

int fcntl64(int file, int command, ...) {
    REAL("fcntl64", int (*)(int, int, ...));
    CONTROL;
}

#define OPENING(folder, call) \
    mode_t mode = 0; \
    if (flags & O_CREAT || (flags & O_TMPFILE) == O_TMPFILE) { \
        va_list list; \
        va_start(list, flags); \
        mode = (mode_t)va_arg(list, unsigned); \
        va_end(list); \
    } \
    int own = is_ours(folder, path); \
    if (FAILS(flags & O_CREAT ? CREATE : OPEN, own)) return -1; \
    int file = call; \
    mark(file, own); \
    return file

int open(const char *path, int flags, ...) {
    REAL("open", int (*)(const char *, int, ...));
    OPENING(AT_FDCWD, known(path, flags, mode));
}

int open64(const char *path, int flags, ...) {
    REAL("open64", int (*)(const char *, int, ...));
    OPENING(AT_FDCWD, known(path, flags, mode));
}

int openat(int folder, const char *path, int flags, ...) {
    REAL("openat", int (*)(int, const char *, int, ...));
    OPENING(folder, known(folder, path, flags, mode));
}

int openat64(int folder, const char *path, int flags, ...) {
    REAL("openat64", int (*)(int, const char *, int, ...));
    OPENING(folder, known(folder, path, flags, mode));
}
