#!/bin/sh
# Makes sure that the tools are there which pip doesn't bring: strace, with which the tests record
# what reaches the disk, and chromium, which opens the web pages.  Silent when they are; without
# one, its tests are skipped.
set -eu

strace_works() {
    strace -f -o /dev/null true 2>/dev/null
}

chromium_works() {
    chromium --version >/dev/null 2>&1
}

as_root=
if [ "$(id -u)" != 0 ]; then
    as_root="sudo -n"
fi
updated=

# install PACKAGE WHAT-FOR
install() {
    if command -v "$1" >/dev/null || ! command -v apt-get >/dev/null || ! $as_root true 2>/dev/null; then
        return
    fi
    echo "Installing $1, for the tests of $2 ..."
    export DEBIAN_FRONTEND=noninteractive
    if [ -z "$updated" ]; then
        $as_root apt-get update -qq >/dev/null 2>&1 || true
        updated=yes
    fi
    $as_root apt-get install -y -qq --no-install-recommends "$1" >/dev/null 2>&1 || true
}

if ! strace_works; then
    install strace "power cuts"
    strace_works ||
        echo "no working strace: install the package 'strace' (Linux) for the tests of power cuts." >&2
fi
if ! chromium_works; then
    install chromium "the web pages"
    chromium_works ||
        echo "no working chromium: install Debian's package 'chromium' for the tests of the web pages." >&2
fi
