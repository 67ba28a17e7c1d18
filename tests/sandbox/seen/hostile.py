"""Bad input for a living supervisor: each must get a clear answer or none, and move nothing.

    hostile.py ctl SOCKET        30 kinds of bad requests; the answer to each is printed
    hostile.py notify FOLDER     20 kinds of bad datagrams, to every notify socket there
"""

import array
import json
import os
import socket
import sys

V = b'{"v":1,"do":'
BAD_REQUESTS = [
    b"{}\n", b"[]\n", b"null\n", b"42\n", b'"status"\n', b"status\n", b"{\n", b"}\n",
    b'{"do":"status"}\n', b'{"v":99,"do":"status"}\n', b'{"v":"1","do":"status"}\n',
    b'{"v":1}\n', V + b'null}\n', V + b'7}\n', V + b'"nothing"}\n', V + b'"status"\n',
    V + b'"start"}\n', V + b'"start","units":"etcd"}\n', V + b'"start","units":[7]}\n',
    V + b'"start","units":[]}\n', V + b'"start","units":["no-such-unit"]}\n',
    V + b'"stop","units":[""]}\n', V + b'"start","units":["../../etc/passwd"]}\n',
    V + b'"kill","unit":"etcd","signal":"NOPE"}\n', V + b'"kill","unit":"etcd"}\n',
    V + b'"logs","n":-1}\n', V + b'"logs","n":1e99}\n', V + b'"why"}\n',
    V + b'"status","more":1}\n', V + b'"restart","units":["etcd"],"dry_run":"yes"}\n',
    b"\0\0\0\0\n", b"\xff\xfe\xfd\n", b"GET / HTTP/1.1\n", b"[" * 5000 + b"\n",
    V + b'"' + b"x" * 70000 + b'"}\n', b"x" * 70000,
]

BAD_DATAGRAMS = [
    b"", b"\n", b"\0", b"READY", b"READY=", b"READY=0", b"READY=yes", b"=1", b"=", b"MAINPID=",
    b"MAINPID=0", b"MAINPID=1", b"MAINPID=-7", b"MAINPID=99999999999999999999", b"MAINPID=x",
    b"WATCHDOG_USEC=-1", b"EXTEND_TIMEOUT_USEC=x", b"ERRNO=112", b"STATUS=\xff\xfe", b"\xff" * 1000,
    b"READY=1\0READY=1", b"X" * 60000, b"STATUS=" + b"y" * 30000, b"RELOADING=1\nRELOADING=1",
]


def ask(path, request):
    """The first line that comes back, and the connection with it."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(30)
        client.connect(path)
        try:
            client.sendall(request)
            client.shutdown(socket.SHUT_WR)
        except BrokenPipeError:
            pass
        reply = b""
        while b"\n" not in reply:
            more = client.recv(65536)
            if not more:
                break
            reply += more
        return reply


def bad_requests(path):
    for request in BAD_REQUESTS:
        reply = ask(path, request)
        answer = json.loads(reply.splitlines()[0])
        assert answer["is"] == "error" and answer["message"], (request[:60], answer)
        print(request[:60], "->", answer["message"][:100])
    # Many that say nothing, and one more that wants something.
    mute = []
    for _ in range(200):
        client = socket.socket(socket.AF_UNIX)
        client.connect(path)
        mute.append(client)
    # Two requests in one packet, the second a good one.
    reply = ask(path, b'{"v":1,"do":"nothing"}\n{"v":1,"do":"status"}\n')
    assert reply, "no answer beside 200 mute clients"
    for client in mute:
        client.close()


def bad_datagrams(folder):
    sockets = [os.path.join(folder, name) for name in os.listdir(folder)]
    assert sockets, "no notify socket"
    for path in sockets:
        sender = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        sender.setblocking(False)
        for datagram in BAD_DATAGRAMS:
            send(sender, path, datagram, [])
        send(sender, path, b"READY=1", [0] * 200)
        for _ in range(5000):
            send(sender, path, b"STATUS=flood", [])


def send(sender, path, datagram, fds):
    more = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
    try:
        sender.sendmsg([datagram], more, 0, path)
    except (BlockingIOError, OSError):
        pass  # full, or too large for the kernel: then it was not sent


if sys.argv[1] == "ctl":
    bad_requests(sys.argv[2])
else:
    bad_datagrams(sys.argv[2])
