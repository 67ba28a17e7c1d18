#!/bin/sh
# Prints an apt line for Debian 12's main section, from the mirror that this machine uses itself;
# PI_MIRROR is another one.
set -eu
# shellcheck disable=SC2016
from=${PI_MIRROR:-$(apt-get indextargets --format '$(REPO_URI) $(CODENAME) $(COMPONENT)' \
    'Created-By: Packages' | awk '$2 == "bookworm" && $3 == "main" { print $1; exit }')}
if [ -z "$from" ]; then
    echo "no Debian 12 among this machine's sources; set PI_MIRROR to a mirror" >&2
    exit 1
fi
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $from bookworm main"
