/* A double of kube-proxy for tests; it writes no rules. As the real one it answers /healthz on
 * port 10256, never speaks to the notify socket, and exits with 0 on TERM.
 * All flags of the real one are taken; of them --healthz-port counts. */
#include "double.h"

#include <stdlib.h>

const char *const double_name = "kube-proxy";

int main(int argc, char **argv)
{
    const struct double_faults faults = double_start(argc, argv);
    const int port = atoi(double_flag(argc, argv, "healthz-port", "10256"));
    int listener;

    double_wait(faults.late, -1, 0, "");
    listener = double_listen("0.0.0.0", port);
    double_say("answers on 0.0.0.0:%d/healthz", port);
    for (;;)
        double_wait(-1, listener, faults.healthz, "{\"lastUpdated\": \"a double\"}");
}
