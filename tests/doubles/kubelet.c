/* A double of kubelet for tests; it runs no pods. As the real one it
 *   - lets a child send a stray ERRNO=112 to the notify socket first (systemd-run does that),
 *   - says READY=1 before its /healthz answers, on 127.0.0.1:10248,
 *   - exits with 0 on TERM.
 * All flags of the real one are taken; --healthz-port and --healthz-bind-address count. */
#include "double.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

const char *const double_name = "kubelet";

static void send_stray_message(void)
{
    pid_t child = fork();

    if (child == 0) {
        double_notify("ERRNO=112");
        _exit(0);
    }
    if (child > 0)
        waitpid(child, NULL, 0);
}

int main(int argc, char **argv)
{
    const struct double_faults faults = double_start(argc, argv);
    const char *address = double_flag(argc, argv, "healthz-bind-address", "127.0.0.1");
    const int port = atoi(double_flag(argc, argv, "healthz-port", "10248"));
    int listener;

    send_stray_message();
    double_wait(faults.late, -1, 0, "");
    if (faults.ready) {
        double_notify("READY=1");
        double_say("said READY=1");
    }
    double_wait(200, -1, 0, ""); /* READY=1 does not mean that /healthz is there */
    listener = double_listen(address, port);
    double_say("answers on %s:%d/healthz", address, port);
    for (;;)
        double_wait(-1, listener, faults.healthz, "ok");
}
