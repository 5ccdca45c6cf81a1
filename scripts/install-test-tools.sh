#!/bin/sh
# Makes sure that strace is there, with which the tests record what reaches the disk.  Silent when
# it is; without it those tests are skipped.
set -eu

works() {
    strace -f -o /dev/null true 2>/dev/null
}

works && exit 0

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
if ! command -v strace >/dev/null && command -v apt-get >/dev/null && $as_root true 2>/dev/null; then
    echo "Installing strace, for the tests of power cuts ..."
    export DEBIAN_FRONTEND=noninteractive
    $as_root apt-get update -qq >/dev/null 2>&1 || true
    $as_root apt-get install -y -qq strace >/dev/null 2>&1 || true
    works && exit 0
fi
echo "no working strace: install the package 'strace' (Linux) for the tests of power cuts." >&2
