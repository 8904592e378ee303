/*
 * The least that running a program in a container costs: what scripts/bench compares runtimes with.
 *
 *   floor run ROOTFS ID PROGRAM    namespaces, a cgroup, the mounts of mkbundle's config.json, pivot_root, exec, wait
 *   floor exec PID PROGRAM         the namespaces and the cgroup of PID, exec, wait
 *
 * It parses no configuration, keeps no state, drops no privileges and masks no paths. The cgroups are those below the
 * caller's own: on v2 the child is born in one, on v1 it is moved into one of each hierarchy while it waits.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/sched.h>
#include <sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#define CGROUPS "/sys/fs/cgroup"
#define CGROUP2_MAGIC 0x63677270
#define NAMESPACES (CLONE_NEWPID | CLONE_NEWNET | CLONE_NEWIPC | CLONE_NEWUTS | CLONE_NEWNS | CLONE_NEWCGROUP)

static void check(int ok, const char *what)
{
    if (ok)
        return;
    fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
    _exit(125);
}

struct hierarchy {
    char name[64];  /* the directory below CGROUPS, which is also the mount option; empty on v2 */
    char path[512]; /* the cgroup's directory */
};

static struct hierarchy hierarchies[32];
static int count;

/* The caller's cgroups, or PID's: on v2 the one of the unified tree, on v1 one of each hierarchy that is mounted. */
static void find_cgroups(const char *pid, const char *id, int v2)
{
    char file[64], line[512];
    snprintf(file, sizeof file, "/proc/%s/cgroup", pid);
    FILE *lines = fopen(file, "re");
    check(lines != NULL, file);
    while (fgets(line, sizeof line, lines)) {
        line[strcspn(line, "\n")] = 0;
        char *name = strchr(line, ':') + 1, *path = strchr(name, ':');
        *path++ = 0;
        if ((*name == 0) != v2)
            continue;
        if (strncmp(name, "name=", 5) == 0)
            name += 5;
        struct hierarchy *h = &hierarchies[count];
        snprintf(h->name, sizeof h->name, "%s", name);
        snprintf(h->path, sizeof h->path, CGROUPS "/%s%s%s%s", name, path, *id && path[1] ? "/" : "", id);
        char mount_point[128];
        snprintf(mount_point, sizeof mount_point, CGROUPS "/%s", name);
        if (access(mount_point, F_OK) == 0)
            count++;
    }
    fclose(lines);
}

static void enter_cgroups(pid_t pid)
{
    char file[600], text[16];
    int length = snprintf(text, sizeof text, "%d", pid);
    for (int i = 0; i < count; i++) {
        snprintf(file, sizeof file, "%s/cgroup.procs", hierarchies[i].path);
        int fd = open(file, O_WRONLY | O_CLOEXEC);
        check(fd >= 0 && write(fd, text, length) == length, file);
        close(fd);
    }
}

/* A cgroup on v1 wants its cpus and memory nodes before it takes a process. */
static void make_cgroups(void)
{
    for (int i = 0; i < count; i++) {
        check(mkdir(hierarchies[i].path, 0755) == 0, hierarchies[i].path);
        if (strcmp(hierarchies[i].name, "cpuset") != 0)
            continue;
        const char *files[] = {"cpuset.cpus", "cpuset.mems"};
        for (int j = 0; j < 2; j++) {
            char path[600], text[256];
            snprintf(path, sizeof path, "%s/../%s", hierarchies[i].path, files[j]);
            int from = open(path, O_RDONLY | O_CLOEXEC);
            int length = read(from, text, sizeof text);
            snprintf(path, sizeof path, "%s/%s", hierarchies[i].path, files[j]);
            int to = open(path, O_WRONLY | O_CLOEXEC);
            check(length > 0 && write(to, text, length) == length, path);
            close(from);
            close(to);
        }
    }
}

static void mount_at(const char *rootfs, const char *type, const char *where, unsigned long flags, const char *options)
{
    char path[4096];
    snprintf(path, sizeof path, "%s%s", rootfs, where);
    if (mkdir(path, 0755) != 0)
        check(errno == EEXIST, path);
    check(mount(type, path, type, flags, options) == 0, path);
}

static void set_up_root(const char *rootfs, int v2)
{
    const unsigned long safe = MS_NOSUID | MS_NOEXEC | MS_NODEV;
    check(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0, "make / private");
    check(mount(rootfs, rootfs, NULL, MS_BIND | MS_REC, NULL) == 0, "bind the root");
    mount_at(rootfs, "proc", "/proc", 0, NULL);
    mount_at(rootfs, "tmpfs", "/dev", MS_NOSUID | MS_STRICTATIME, "mode=755,size=65536k");
    mount_at(rootfs, "devpts", "/dev/pts", MS_NOSUID | MS_NOEXEC, "newinstance,ptmxmode=0666,mode=0620,gid=5");
    mount_at(rootfs, "tmpfs", "/dev/shm", safe, "mode=1777,size=65536k");
    mount_at(rootfs, "mqueue", "/dev/mqueue", safe, NULL);
    mount_at(rootfs, "sysfs", "/sys", safe | MS_RDONLY, NULL);
    if (v2) {
        mount_at(rootfs, "cgroup2", "/sys/fs/cgroup", safe | MS_RELATIME | MS_RDONLY, NULL);
    } else {
        mount_at(rootfs, "tmpfs", "/sys/fs/cgroup", safe, "mode=755");
        for (int i = 0; i < count; i++) {
            char where[128], options[80];
            snprintf(where, sizeof where, "/sys/fs/cgroup/%s", hierarchies[i].name);
            snprintf(options, sizeof options, "%s%s", strcmp(hierarchies[i].name, "systemd") == 0 ? "none,name=" : "",
                     hierarchies[i].name);
            mount_at(rootfs, "cgroup", where, safe | MS_RELATIME | MS_RDONLY, options);
        }
    }
    check(chdir(rootfs) == 0 && syscall(SYS_pivot_root, ".", ".") == 0, "pivot_root");
    check(umount2(".", MNT_DETACH) == 0 && chdir("/") == 0, "leave the old root");
}

static pid_t clone_into(uint64_t flags, int cgroup)
{
    struct clone_args args = {.flags = flags, .exit_signal = SIGCHLD};
    if (cgroup >= 0) {
        args.flags |= CLONE_INTO_CGROUP;
        args.cgroup = cgroup;
    }
    pid_t pid = syscall(SYS_clone3, &args, sizeof args);
    check(pid >= 0, "clone3");
    return pid;
}

static int cgroup_descriptor(int v2) { return v2 ? open(hierarchies[0].path, O_PATH | O_DIRECTORY | O_CLOEXEC) : -1; }

static int wait_for(pid_t pid)
{
    int status;
    check(waitpid(pid, &status, 0) == pid, "wait");
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int run(const char *rootfs, const char *id, char *const program[], int v2)
{
    int ready[2];
    char byte;
    find_cgroups("self", id, v2);
    make_cgroups();
    check(pipe2(ready, O_CLOEXEC) == 0, "pipe");
    pid_t pid = clone_into(NAMESPACES, cgroup_descriptor(v2));
    if (pid == 0) {
        close(ready[1]);
        if (!v2)
            check(read(ready[0], &byte, 1) == 0, "wait for the cgroups"); /* the end of file says: moved */
        set_up_root(rootfs, v2);
        execv(program[0], program);
        check(0, program[0]);
    }
    if (!v2)
        enter_cgroups(pid);
    close(ready[1]);
    int status = wait_for(pid);
    for (int i = 0; i < count; i++)
        check(rmdir(hierarchies[i].path) == 0, hierarchies[i].path);
    return status;
}

static int exec_in(const char *target, char *const program[], int v2)
{
    find_cgroups(target, "", v2);
    int pidfd = syscall(SYS_pidfd_open, atoi(target), 0);
    int cgroup = cgroup_descriptor(v2);
    check(pidfd >= 0, "pidfd_open");
    if (!v2)
        enter_cgroups(getpid());
    check(setns(pidfd, NAMESPACES) == 0, "setns");
    pid_t pid = clone_into(0, cgroup);
    if (pid == 0) {
        execv(program[0], program);
        check(0, program[0]);
    }
    return wait_for(pid);
}

int main(int argc, char *argv[])
{
    struct statfs fs;
    check(statfs(CGROUPS, &fs) == 0, CGROUPS);
    int v2 = fs.f_type == CGROUP2_MAGIC;
    if (argc > 4 && strcmp(argv[1], "run") == 0)
        return run(argv[2], argv[3], argv + 4, v2);
    if (argc > 3 && strcmp(argv[1], "exec") == 0)
        return exec_in(argv[2], argv + 3, v2);
    fprintf(stderr, "usage: floor run ROOTFS ID PROGRAM | floor exec PID PROGRAM\n");
    return 2;
}
