/* A double of flanneld (0.15 and older: etcd's v2 keys) for tests; it routes no packets.
 * As the real one it
 *   - asks etcd for PREFIX/config each second until it is there, with a line on stderr a try,
 *   - leases a subnet of that network under PREFIX/subnets, keyed by its public address: the
 *     lease it already has, else the subnet of the old subnet.env, else a free one,
 *   - writes .subnet.env, renames it to subnet.env, and then says READY=1,
 *   - exits with 0 when its lease is revoked, and with 0 on TERM; the file stays.
 * Faults on demand, beside those of double.h:
 *   USR1  its lease is revoked: exit 0
 *   USR2  as flannel 0.7 and older: another subnet in the same process, a second READY=1
 * Flags that count: etcd-endpoints etcd-prefix iface public-ip subnet-file ip-masq. */
#define _GNU_SOURCE
#include "double.h"

#include <arpa/inet.h>
#include <errno.h>
#include <ifaddrs.h>
#include <net/if.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <unistd.h>

const char *const double_name = "flanneld";

static const char *prefix, *subnet_file, *ip_masq;
static char public_ip[INET_ADDRSTRLEN], endpoint[64];
static int endpoint_port, link_mtu = 1500;

struct network {
    uint32_t base, mask;
    int subnet_bits, mtu;
    char text[32];
};

/* ---- etcd ------------------------------------------------------------------------------- */

static int connect_to_etcd(void)
{
    struct sockaddr_in to = { .sin_family = AF_INET,
                              .sin_port = htons((unsigned short)endpoint_port) };
    const struct timeval patience = { .tv_sec = 2 };
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || inet_pton(AF_INET, endpoint, &to.sin_addr) != 1)
        double_die("bad endpoint %s", endpoint);
    setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
    setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    if (connect(fd, (struct sockaddr *)&to, sizeof to) == 0)
        return fd;
    close(fd);
    return -1;
}

/* One request to /v2/keys; the reply's body goes to `reply`. The HTTP status, 0 without one. */
static int request(const char *method, const char *key, const char *form, char *reply, size_t size)
{
    int fd = connect_to_etcd(), status = 0;
    size_t length = 0;
    ssize_t got;
    char *body;

    reply[0] = '\0';
    if (fd < 0)
        return 0;
    /* HTTP/1.0, so that the reply comes in one piece and ends with the connection. */
    dprintf(fd, "%s /v2/keys%s HTTP/1.0\r\nHost: etcd\r\n"
            "Content-Type: application/x-www-form-urlencoded\r\nContent-Length: %zu\r\n\r\n%s",
            method, key, strlen(form), form);
    while (length < size - 1 && (got = read(fd, reply + length, size - 1 - length)) > 0)
        length += (size_t)got;
    reply[length] = '\0';
    close(fd);
    if (sscanf(reply, "HTTP/%*s %d", &status) != 1)
        return 0;
    body = strstr(reply, "\r\n\r\n");
    if (body)
        memmove(reply, body + 4, strlen(body + 4) + 1);
    return status;
}

/* Removes the backslashes of a JSON string in JSON; enough for what etcd and flannel write. */
static void unescape(char *text)
{
    char *to = text;

    for (; *text; text++)
        if (*text != '\\')
            *to++ = *text;
    *to = '\0';
}

/* The string or number after "name": in `text`. */
static int json_field(const char *text, const char *name, char *value, size_t size)
{
    char wanted[40];
    size_t length;

    snprintf(wanted, sizeof wanted, "\"%s\"", name);
    text = strstr(text, wanted);
    if (!text)
        return 0;
    text += strlen(wanted);
    text += strspn(text, ": \t\n\"");
    length = strcspn(text, "\",} \n");
    if (length == 0 || length >= size)
        return 0;
    memcpy(value, text, length);
    value[length] = '\0';
    return 1;
}

/* ---- the network ------------------------------------------------------------------------ */

static int parse_network(char *reply, struct network *network)
{
    char value[64] = "", type[16] = "udp";
    struct in_addr address;
    int bits = 0;
    char *slash;

    unescape(reply);
    if (!json_field(reply, "Network", network->text, sizeof network->text))
        return 0;
    snprintf(value, sizeof value, "%s", network->text);
    slash = strchr(value, '/');
    if (!slash || (bits = atoi(slash + 1)) < 1 || bits > 28)
        return 0;
    *slash = '\0';
    if (inet_pton(AF_INET, value, &address) != 1)
        return 0;
    network->mask = ~0u << (32 - bits);
    network->base = ntohl(address.s_addr) & network->mask;
    network->subnet_bits = bits < 22 ? 24 : bits + 2;
    if (json_field(reply, "SubnetLen", value, sizeof value))
        network->subnet_bits = atoi(value);
    json_field(reply, "Type", type, sizeof type);
    network->mtu = link_mtu;
    if (strcmp(type, "udp") == 0)
        network->mtu -= 28;
    if (strcmp(type, "vxlan") == 0)
        network->mtu -= 50;
    return network->subnet_bits > bits && network->subnet_bits <= 30;
}

static void wait_for_network(struct network *network)
{
    static char reply[65536];
    char key[256];

    snprintf(key, sizeof key, "%s/config", prefix);
    for (;;) {
        int status = request("GET", key, "", reply, sizeof reply);

        if (status == 200 && parse_network(reply, network))
            return;
        reply[strcspn(reply, "\n")] = '\0';
        double_say("Failed to retrieve network config: %s",
                   status == 0 ? "client: etcd cluster is unavailable or misconfigured" : reply);
        double_wait(1000, -1, 0, "");
    }
}

/* ---- the lease -------------------------------------------------------------------------- */

static const char *dotted(uint32_t address)
{
    struct in_addr text = { .s_addr = htonl(address) };

    return inet_ntoa(text);
}

static void lease_key(char *key, size_t size, const struct network *network, uint32_t subnet)
{
    snprintf(key, size, "%s/subnets/%s-%d", prefix, dotted(subnet), network->subnet_bits);
}

/* The subnet of the lease under this node's public address, 0 if it has none. */
static uint32_t own_lease(const struct network *network)
{
    static char reply[65536];
    char key[256], wanted[64];
    struct in_addr address;
    char *at, *next;

    snprintf(key, sizeof key, "%s/subnets", prefix);
    if (request("GET", key, "", reply, sizeof reply) != 200)
        return 0;
    unescape(reply);
    snprintf(wanted, sizeof wanted, "\"PublicIP\":\"%s\"", public_ip);
    snprintf(key, sizeof key, "\"key\":\"%s/subnets/", prefix);
    for (at = strstr(reply, key); at; at = next) {
        char text[32];
        char *mine;
        size_t length;

        at += strlen(key);
        next = strstr(at, key);
        mine = strstr(at, wanted);
        if (!mine || (next && mine > next))
            continue;
        length = strcspn(at, "-\"");
        if (length >= sizeof text)
            continue;
        memcpy(text, at, length);
        text[length] = '\0';
        if (inet_pton(AF_INET, text, &address) == 1 &&
            (ntohl(address.s_addr) & network->mask) == network->base)
            return ntohl(address.s_addr);
    }
    return 0;
}

/* The subnet in the file of an earlier run, 0 if there is none in this network. */
static uint32_t old_subnet(const struct network *network)
{
    FILE *file = fopen(subnet_file, "re");
    struct in_addr address;
    uint32_t found = 0;
    char line[128];

    if (!file)
        return 0;
    while (fgets(line, sizeof line, file)) {
        if (strncmp(line, "FLANNEL_SUBNET=", 15) != 0)
            continue;
        line[15 + strcspn(line + 15, "/\n")] = '\0';
        if (inet_pton(AF_INET, line + 15, &address) == 1)
            found = ntohl(address.s_addr) & (~0u << (32 - network->subnet_bits));
    }
    fclose(file);
    return (found & network->mask) == network->base ? found : 0;
}

static uint32_t random_subnet(const struct network *network)
{
    const uint32_t step = 1u << (32 - network->subnet_bits);
    const uint32_t count = (~network->mask + 1u) / step;

    /* Not the first one, as the real flanneld. */
    return network->base + (1 + (uint32_t)rand() % (count - 1)) * step;
}

/* Puts the lease into etcd; only over one of its own if `renew`. */
static int put_lease(const struct network *network, uint32_t subnet, int renew)
{
    static char reply[65536];
    char key[256], form[256];
    int status;

    lease_key(key, sizeof key, network, subnet);
    snprintf(form, sizeof form,
             "value=%%7B%%22PublicIP%%22%%3A%%22%s%%22%%7D&ttl=86400&prevExist=%s", public_ip,
             renew ? "true" : "false");
    status = request("PUT", key, form, reply, sizeof reply);
    if (status != 200 && status != 201)
        double_say("%s was not leased: etcd answered %d", dotted(subnet), status);
    return status == 200 || status == 201;
}

/* A lease, whatever it takes; not `avoid`. */
static uint32_t acquire(const struct network *network, uint32_t avoid)
{
    for (;;) {
        uint32_t subnet = own_lease(network);

        if (subnet && subnet != avoid && put_lease(network, subnet, 1)) {
            double_say("found a lease of its own, %s", dotted(subnet));
            return subnet;
        }
        subnet = old_subnet(network);
        if (subnet && subnet != avoid && put_lease(network, subnet, 0)) {
            double_say("leased the subnet of the old file again, %s", dotted(subnet));
            return subnet;
        }
        subnet = random_subnet(network);
        if (subnet != avoid && put_lease(network, subnet, 0)) {
            double_say("leased %s", dotted(subnet));
            return subnet;
        }
        double_wait(1000, -1, 0, "");
    }
}

static int lease_is_gone(const struct network *network, uint32_t subnet)
{
    static char reply[65536];
    char key[256];

    lease_key(key, sizeof key, network, subnet);
    /* Only a plain "not found" counts: an etcd that is away has revoked nothing. */
    return request("GET", key, "", reply, sizeof reply) == 404;
}

static void drop_lease(const struct network *network, uint32_t subnet)
{
    static char reply[65536];
    char key[256];

    lease_key(key, sizeof key, network, subnet);
    request("DELETE", key, "", reply, sizeof reply);
}

/* ---- the file --------------------------------------------------------------------------- */

static void write_file(const struct network *network, uint32_t subnet)
{
    char folder[256], draft[300];
    FILE *file;
    char *slash;

    snprintf(folder, sizeof folder, "%s", subnet_file);
    slash = strrchr(folder, '/');
    if (!slash)
        double_die("--subnet-file needs a folder");
    *slash = '\0';
    mkdir(folder, 0755);
    snprintf(draft, sizeof draft, "%s/.%s", folder, slash + 1);
    file = fopen(draft, "we");
    if (!file)
        double_die("%s: %s", draft, strerror(errno));
    fprintf(file, "FLANNEL_NETWORK=%s\nFLANNEL_SUBNET=%s/%d\nFLANNEL_MTU=%d\nFLANNEL_IPMASQ=%s\n",
            network->text, dotted(subnet + 1), network->subnet_bits, network->mtu, ip_masq);
    if (fclose(file) != 0 || rename(draft, subnet_file) != 0)
        double_die("%s: %s", subnet_file, strerror(errno));
}

/* ---- who and where we are --------------------------------------------------------------- */

/* `wanted` is the name of an interface or its address; NULL takes the first that is not lo. */
static void look_at_interface(const char *wanted, const char *given_ip)
{
    struct ifaddrs *all, *each;
    char text[INET_ADDRSTRLEN];

    if (getifaddrs(&all) != 0)
        double_die("getifaddrs: %s", strerror(errno));
    for (each = all; each; each = each->ifa_next) {
        struct ifreq link = { .ifr_ifindex = 0 };
        int fd;

        if (!each->ifa_addr || each->ifa_addr->sa_family != AF_INET)
            continue;
        inet_ntop(AF_INET, &((struct sockaddr_in *)each->ifa_addr)->sin_addr, text, sizeof text);
        if (wanted ? strcmp(wanted, each->ifa_name) != 0 && strcmp(wanted, text) != 0
                   : (each->ifa_flags & IFF_LOOPBACK) != 0)
            continue;
        snprintf(public_ip, sizeof public_ip, "%s", given_ip ? given_ip : text);
        snprintf(link.ifr_name, sizeof link.ifr_name, "%s", each->ifa_name);
        fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
        if (ioctl(fd, SIOCGIFMTU, &link) == 0)
            link_mtu = link.ifr_mtu;
        close(fd);
        freeifaddrs(all);
        return;
    }
    double_die("no interface %s with an address", wanted ? wanted : "at all");
}

static void look_at_flags(int argc, char **argv)
{
    const char *url = double_flag(argc, argv, "etcd-endpoints", "http://127.0.0.1:4001");

    if (sscanf(url, "http://%63[0-9.]:%d", endpoint, &endpoint_port) != 2)
        double_die("--etcd-endpoints: wanted http://ADDRESS:PORT, not %s", url);
    prefix = double_flag(argc, argv, "etcd-prefix", "/coreos.com/network");
    subnet_file = double_flag(argc, argv, "subnet-file", "/run/flannel/subnet.env");
    ip_masq = double_flag(argc, argv, "ip-masq", "false");
    look_at_interface(double_flag(argc, argv, "iface", NULL),
                      double_flag(argc, argv, "public-ip", NULL));
}

int main(int argc, char **argv)
{
    const struct double_faults faults = double_start(argc, argv);
    struct network network = { .base = 0 };
    uint32_t subnet;

    srand((unsigned)getpid() ^ (unsigned)double_now());
    look_at_flags(argc, argv);
    double_wait(faults.late, -1, 0, "");
    wait_for_network(&network);
    subnet = acquire(&network, 0);
    for (;;) {
        int number;

        write_file(&network, subnet);
        if (faults.ready)
            double_notify("READY=1");
        double_say("runs with %s/%d for %s", dotted(subnet), network.subnet_bits, public_ip);
        do
            number = double_wait(1000, -1, 0, "");
        while (number != SIGUSR1 && number != SIGUSR2 && !lease_is_gone(&network, subnet));
        if (number != SIGUSR2) {
            double_say("Lease has been revoked. Shutting down daemon.");
            return 0;
        }
        drop_lease(&network, subnet);
        subnet = acquire(&network, subnet);
    }
}
