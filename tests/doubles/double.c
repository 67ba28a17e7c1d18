/* The common part of the doubles; see double.h. */
#define _GNU_SOURCE
#include "double.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

static struct double_faults faults = { .exit = -1, .ready = 1, .healthz = 200 };
static int signals = -1;

static void say(const char *format, va_list arguments)
{
    char line[1024];

    vsnprintf(line, sizeof line, format, arguments);
    /* One write a line: the lines of a double and of its child must not mix. */
    dprintf(STDERR_FILENO, "%s-double: %s\n", double_name, line);
}

void double_say(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
}

void double_die(const char *format, ...)
{
    va_list arguments;

    va_start(arguments, format);
    say(format, arguments);
    va_end(arguments);
    exit(1);
}

static void read_faults(void)
{
    const struct { const char *key; int *value; } known[] = {
        { "exit", &faults.exit },   { "late", &faults.late },       { "ready", &faults.ready },
        { "deaf", &faults.deaf },   { "healthz", &faults.healthz },
    };
    char path[256], line[128];
    const char *given = getenv("DOUBLE_CONTROL");
    FILE *file;

    snprintf(path, sizeof path, "/run/doubles/%s", double_name);
    file = fopen(given ? given : path, "re");
    if (!file)
        return; /* no file, no fault */
    while (fgets(line, sizeof line, file)) {
        char *value = strchr(line, '=');
        size_t i;

        if (!value)
            continue;
        *value++ = '\0';
        for (i = 0; i < sizeof known / sizeof *known; i++)
            if (strcmp(line, known[i].key) == 0) {
                *known[i].value = atoi(value);
                double_say("fault ordered: %s=%d", line, *known[i].value);
            }
    }
    fclose(file);
}

struct double_faults double_start(int argc, char **argv)
{
    sigset_t set;

    if (argc == 2 && strcmp(argv[1], "--version") == 0) {
        printf("%s-double: a double for tests, not the real %s\n", double_name, double_name);
        exit(0);
    }
    double_say("a double for tests, not the real %s", double_name);
    sigemptyset(&set);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGINT);
    sigaddset(&set, SIGHUP);
    sigaddset(&set, SIGUSR1);
    sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, NULL);
    signal(SIGPIPE, SIG_IGN);
    signals = signalfd(-1, &set, SFD_CLOEXEC);
    if (signals < 0)
        double_die("signalfd: %s", strerror(errno));
    read_faults();
    if (faults.exit >= 0) {
        double_say("exits with %d, as ordered", faults.exit);
        exit(faults.exit);
    }
    return faults;
}

const char *double_flag(int argc, char **argv, const char *flag, const char *otherwise)
{
    size_t length = strlen(flag);
    int i;

    for (i = 1; i < argc; i++) {
        const char *name = argv[i];

        if (name[0] != '-')
            continue;
        name += name[1] == '-' ? 2 : 1; /* Go takes one dash or two */
        if (strncmp(name, flag, length) != 0)
            continue;
        if (name[length] == '=')
            return name + length + 1;
        if (name[length] == '\0' && i + 1 < argc)
            return argv[i + 1];
    }
    return otherwise;
}

void double_notify(const char *message)
{
    struct sockaddr_un to = { .sun_family = AF_UNIX };
    const char *path = getenv("NOTIFY_SOCKET");
    size_t length;
    int fd;

    if (!path || !*path || strlen(path) >= sizeof to.sun_path)
        return;
    length = strlen(path);
    memcpy(to.sun_path, path, length);
    if (path[0] == '@')
        to.sun_path[0] = '\0'; /* abstract */
    fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return;
    if (sendto(fd, message, strlen(message), MSG_NOSIGNAL, (struct sockaddr *)&to,
               (socklen_t)(offsetof(struct sockaddr_un, sun_path) + length)) < 0)
        double_say("notify: %s", strerror(errno));
    close(fd);
}

int double_listen(const char *address, int port)
{
    struct sockaddr_in at = { .sin_family = AF_INET, .sin_port = htons((unsigned short)port) };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;

    if (fd < 0 || inet_pton(AF_INET, address, &at.sin_addr) != 1)
        double_die("cannot listen on %s", address);
    setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
    if (bind(fd, (struct sockaddr *)&at, sizeof at) != 0 || listen(fd, 16) != 0)
        double_die("cannot listen on %s:%d: %s", address, port, strerror(errno));
    return fd;
}

static void answer(int listener, int status, const char *body)
{
    const struct timeval patience = { .tv_sec = 1 };
    int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);
    char request[2048];
    ssize_t got;

    if (fd < 0)
        return;
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    got = read(fd, request, sizeof request - 1);
    if (got > 0) {
        request[got] = '\0';
        if (strncmp(request, "GET /healthz", 12) != 0) {
            status = 404;
            body = "404 page not found";
        }
        dprintf(fd, "HTTP/1.1 %d %s\r\nContent-Type: text/plain\r\nContent-Length: %zu\r\n"
                "Connection: close\r\n\r\n%s",
                status, status == 200 ? "OK" : "Not OK", strlen(body), body);
    }
    close(fd);
}

static int take_signal(void)
{
    struct signalfd_siginfo info;

    if (read(signals, &info, sizeof info) != sizeof info)
        return 0;
    if (info.ssi_signo != SIGTERM && info.ssi_signo != SIGINT)
        return (int)info.ssi_signo;
    if (faults.deaf) {
        double_say("ignores signal %u, as ordered", info.ssi_signo);
        return 0;
    }
    double_say("exits on signal %u", info.ssi_signo);
    exit(0);
}

int double_wait(long ms, int listener, int status, const char *body)
{
    const long until = ms < 0 ? 0 : double_now() + ms;

    for (;;) {
        struct pollfd fds[2] = { { .fd = signals, .events = POLLIN },
                                 { .fd = listener, .events = POLLIN } };
        long left = ms < 0 ? -1 : until - double_now();

        if (ms >= 0 && left <= 0)
            return 0;
        if (poll(fds, listener < 0 ? 1 : 2, (int)left) <= 0)
            continue;
        if (fds[1].revents)
            answer(listener, status, body);
        if (fds[0].revents) {
            int number = take_signal();

            if (number)
                return number;
        }
    }
}

long double_now(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000 + now.tv_nsec / 1000000;
}
