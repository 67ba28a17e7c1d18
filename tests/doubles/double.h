/* What the three doubles share: a double stands in for a real program in tests of pisup's
 * behaviour, is driven through the same interfaces as the real one (flags, notify socket, HTTP
 * port, files, exit status), and always says that it is a double.
 *
 * Faults are ordered through a file of `key=value` lines, /run/doubles/NAME (or $DOUBLE_CONTROL),
 * read at start:
 *
 *     exit=N       exit with code N at once
 *     late=MS      be ready only after that many milliseconds
 *     ready=0      never say READY=1
 *     deaf=1       ignore TERM and INT
 *     healthz=N    answer /healthz with that status
 */
#ifndef DOUBLE_H
#define DOUBLE_H

struct double_faults {
    int exit, late, ready, deaf, healthz;
};

/* The name of this double: "kubelet", ... Every line of output starts with it. */
extern const char *const double_name;

void double_say(const char *format, ...) __attribute__((format(printf, 1, 2)));
_Noreturn void double_die(const char *format, ...) __attribute__((format(printf, 1, 2)));

/* Handles --version, prints the first line, reads the faults, blocks the signals. */
struct double_faults double_start(int argc, char **argv);

/* The value of --FLAG=VALUE or --FLAG VALUE, or `otherwise`. */
const char *double_flag(int argc, char **argv, const char *flag, const char *otherwise);

/* One datagram to $NOTIFY_SOCKET; nothing where there is none. */
void double_notify(const char *message);

/* A listening TCP socket on ADDRESS:PORT. */
int double_listen(const char *address, int port);

/* Waits up to `ms` (-1: for ever), answering /healthz on `listener` (-1: none) with `status` and
 * `body`. Returns the signal that came in (TERM, INT, HUP, USR1, USR2), or 0 after `ms`.
 * TERM and INT end the program with 0, unless it is told to be deaf. */
int double_wait(long ms, int listener, int status, const char *body);

long double_now(void); /* milliseconds, monotonic */

#endif
