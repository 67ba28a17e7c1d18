#!/bin/sh
# The first process of a node on which nobody reaches etcd; see late.sh.
iptables -A INPUT -p tcp --dport 4001 -j DROP
exec pisup supervise
