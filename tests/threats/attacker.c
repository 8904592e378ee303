// What a hostile process inside a container tries. Each mode ends when /stop appears (but for `bomb`) and then writes
// its counts to /counts, as NAME=NUMBER lines.
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/types.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

struct attributes {
    __u64 set, clear, propagation, userns;
};

static int stop(void) { return access("/stop", F_OK) == 0; }

static void announce(void) { close(open("/up", O_WRONLY | O_CREAT, 0644)); }

static FILE *counts(void) { return fopen("/counts.new", "w"); }

static void done(FILE *file) {
    fclose(file);
    rename("/counts.new", "/counts");
}

// A program that is not of this container's root file system.
static int foreign(const char *pid) {
    char path[300], target[300];
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    ssize_t length = readlink(path, target, sizeof target - 1);
    if (length <= 0) return 0;
    target[length] = 0;
    return strcmp(target, "/bin/attacker") != 0 && strcmp(target, "/bin/busybox") != 0;
}

// Calls a function for each process but ourselves.
static void each(void (*look)(const char *)) {
    DIR *proc = opendir("/proc");
    struct dirent *entry;
    while (proc && (entry = readdir(proc)))
        if (entry->d_name[0] >= '1' && entry->d_name[0] <= '9' && atoi(entry->d_name) != getpid()) look(entry->d_name);
    if (proc) closedir(proc);
}

// --- hunt: S1, holds foreign binaries and tries to write to them ---

static int held[64], holds, seen, opened, written;

static void try_writing(int fd) {
    char path[64];
    struct attributes writable = {.clear = 1 /* MOUNT_ATTR_RDONLY */};
    syscall(SYS_mount_setattr, fd, "", AT_EMPTY_PATH, &writable, sizeof writable);
    snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
    mount("none", path, NULL, MS_REMOUNT | MS_BIND, NULL);
    int again = open(path, O_WRONLY);
    if (again < 0) return;
    opened++;
    if (write(again, "\x7f", 1) == 1) written++;
    if (ftruncate(again, 1 << 20) == 0) written++;
    close(again);
}

static void hunt_one(const char *pid) {
    char path[300];
    if (!foreign(pid)) return;
    seen++;
    snprintf(path, sizeof path, "/proc/%s/exe", pid);
    int fd = open(path, O_RDONLY);
    if (fd < 0) return;
    // Since our look it may have become a program of this root file system, which we are free to write to.
    struct stat prey, own;
    if (fstat(fd, &prey) != 0 || stat("/bin/busybox", &own) != 0 ||
        (prey.st_ino == own.st_ino && prey.st_dev == own.st_dev)) {
        close(fd);
        return;
    }
    try_writing(fd);
    if (holds < 64) held[holds++] = fd;
    else close(fd);
}

static int hunt(void) {
    int rounds = 0;
    announce();
    for (; !stop(); rounds++) {
        each(hunt_one);
        for (int i = 0; i < holds; i++) try_writing(held[i]);
    }
    // Nobody runs them any more: what is refused now is not refused for being busy.
    usleep(300000);
    for (int i = 0; i < holds; i++) try_writing(held[i]);
    FILE *file = counts();
    fprintf(file, "rounds=%d\nseen=%d\nholds=%d\nopened=%d\nwritten=%d\n", rounds, seen, holds, opened, written);
    done(file);
    return 0;
}

// --- peek: S24, looks into processes that are not yet what they will be ---

static int strangers, traced, environs, memories, descriptors;

static void peek_one(const char *pid) {
    char path[300], text[70000];
    snprintf(path, sizeof path, "/proc/%s/comm", pid);
    int fd = open(path, O_RDONLY);
    ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text);
    if (fd >= 0) close(fd);
    if (length < 7 || strncmp(text, "bookend", 7) != 0) return;
    strangers++;
    if (foreign(pid)) memories++;
    snprintf(path, sizeof path, "/proc/%s/environ", pid);
    fd = open(path, O_RDONLY);
    length = fd < 0 ? 0 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (length > 0 && memmem(text, length, "SECRET_OF_THE_HOST", 18)) environs++;
    snprintf(path, sizeof path, "/proc/%s/fd", pid);
    DIR *fds = opendir(path);
    if (fds) {
        if (foreign(pid)) descriptors++;
        closedir(fds);
    }
    if (ptrace(PTRACE_SEIZE, atoi(pid), 0, 0) == 0) {
        if (foreign(pid)) traced++;
        ptrace(PTRACE_INTERRUPT, atoi(pid), 0, 0);
        waitpid(atoi(pid), NULL, __WALL);
        ptrace(PTRACE_DETACH, atoi(pid), 0, 0);
    }
}

static int peek(void) {
    int rounds = 0;
    announce();
    for (; !stop(); rounds++) each(peek_one);
    FILE *file = counts();
    fprintf(file, "rounds=%d\nstrangers=%d\ntraced=%d\nenvirons=%d\nmemories=%d\ndescriptors=%d\n", rounds, strangers,
            traced, environs, memories, descriptors);
    done(file);
    return 0;
}

// --- bomb: R10 ---

static _Noreturn int bomb(void) {
    for (;;) {
        fork();
        usleep(20000);
    }
}

// --- scatter: H4, descendants in five styles, each with the mark in its command line, then sleeps ---

static void linger(const char *mark) {
    execl("/bin/attacker", "attacker", "linger", mark, (char *)NULL);
    _exit(1);
}

static void descend(int style, const char *mark) {
    if (fork() != 0) return;
    switch (style) {
        case 0: break;
        case 1:
            if (fork() != 0) _exit(0);
            break;
        case 2: setsid(); break;
        case 3:
            setsid();
            signal(SIGTERM, SIG_IGN);
            signal(SIGHUP, SIG_IGN);
            if (fork() != 0) _exit(0);
            setsid();
            break;
        case 4:
            // A pid namespace of its own, where there is the right to one.
            if (unshare(CLONE_NEWPID) == 0 && fork() != 0) pause();
            break;
    }
    linger(mark);
}

static _Noreturn int scatter(int count, const char *mark) {
    for (int i = 0; i < count; i++) descend(i % 5, mark);
    announce();
    for (;;) pause();
}

// --- knock: S17, tries to connect to every unix socket that it sees ---

static int knock(void) {
    char line[600];
    int names = 0, connections = 0;
    FILE *table = fopen("/proc/net/unix", "r");
    while (table && fgets(line, sizeof line, table)) {
        char *name = strrchr(line, ' ');
        if (!name || (name[1] != '@' && name[1] != '/')) continue;
        name++;
        name[strcspn(name, "\n")] = 0;
        if (!strstr(name, "bookend") && !strstr(name, "start.") && !strstr(name, "control.")) continue;
        names++;
        struct sockaddr_un address = {.sun_family = AF_UNIX};
        strncpy(address.sun_path, name, sizeof address.sun_path - 1);
        if (name[0] == '@') address.sun_path[0] = 0;
        int kinds[] = {SOCK_STREAM, SOCK_SEQPACKET, SOCK_DGRAM};
        for (int i = 0; i < 3; i++) {
            int fd = socket(AF_UNIX, kinds[i], 0);
            socklen_t length = sizeof(sa_family_t) + strlen(name);
            if (connect(fd, (struct sockaddr *)&address, length) == 0) connections++;
            close(fd);
        }
    }
    FILE *file = counts();
    fprintf(file, "table=%d\nnames=%d\nconnections=%d\n", table != NULL, names, connections);
    done(file);
    while (!stop()) usleep(10000);
    return 0;
}

#ifdef __x86_64__
// mkdir by its number in the table of 32 bits, by int 0x80. Its pointers have 32 bits, so that the path has to lie low: the
// program is not position independent.
static int i386(void) {
    static char path[] = "/i386";
    long result;
    __asm__ volatile("int $0x80" : "=a"(result) : "a"(39), "b"(path), "c"(0755) : "memory");
    return result == 0 ? 0 : 1;
}

// The same in the table of x32.
static int x32(void) { return syscall(0x40000000 + SYS_mkdir, "/x32", 0755) == 0 ? 0 : 1; }
#endif

int main(int argc, char **argv) {
    if (argc < 2) return 2;
    if (strcmp(argv[1], "hunt") == 0) return hunt();
    if (strcmp(argv[1], "peek") == 0) return peek();
    if (strcmp(argv[1], "bomb") == 0) return bomb();
    if (strcmp(argv[1], "knock") == 0) return knock();
    if (strcmp(argv[1], "scatter") == 0) return scatter(atoi(argv[2]), argv[3]);
#ifdef __x86_64__
    if (strcmp(argv[1], "i386") == 0) return i386();
    if (strcmp(argv[1], "x32") == 0) return x32();
#endif
    if (strcmp(argv[1], "linger") == 0) for (;;) pause();
    return 2;
}
