/* pause: holds the namespaces of a pod open and does nothing else.
 *
 * It is the first process of the pod, so it reaps what the pod's containers leave behind, and it
 * ends at once when told to: without handlers PID 1 of a namespace would ignore TERM and INT. */
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

static void end(int signal)
{
    (void)signal;
    _exit(0);
}

static void reap(int signal)
{
    (void)signal;
    while (waitpid(-1, NULL, WNOHANG) > 0)
        ;
}

int main(void)
{
    const struct sigaction on_end = { .sa_handler = end };
    const struct sigaction on_child = { .sa_handler = reap, .sa_flags = SA_NOCLDSTOP };

    if (sigaction(SIGTERM, &on_end, NULL) != 0 || sigaction(SIGINT, &on_end, NULL) != 0 ||
        sigaction(SIGCHLD, &on_child, NULL) != 0) {
        perror("pause: sigaction");
        return 1;
    }
    for (;;)
        pause();
}
