#!/bin/sh
# Installs what is missing: `build` for compiling, `stack` for the real-stack suite. Quick when nothing is.
# Says what it does. Debian 12; elsewhere it prints what is needed.
set -eu

need_build() {
    # gcc, g++, make: librdkafka and RocksDB. libclang: bindings to RocksDB. OpenSSL, zlib: librdkafka.
    for pair in gcc:gcc g++:g++ make:make pkg-config:pkg-config; do
        command -v "${pair%%:*}" >/dev/null 2>&1 || echo "${pair##*:}"
    done
    [ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
    [ -e /usr/include/zlib.h ] || echo zlib1g-dev
    ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || echo libclang-dev
}

install_missing() {
    missing=$("$1" | sort -u | tr '\n' ' ')
    [ -n "${missing% }" ] || return 0
    echo "Installing $2: $missing"
    if ! command -v apt-get >/dev/null 2>&1; then
        echo "This is no Debian: please install what these packages hold, then try again." >&2
        exit 1
    fi
    as_root=""
    if [ "$(id -u)" -ne 0 ]; then
        command -v sudo >/dev/null 2>&1 || { echo "As root: apt-get install $missing" >&2; exit 1; }
        as_root=sudo
    fi
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get update -q
    # shellcheck disable=SC2086
    $as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends $missing
}

case "${1:-}" in
    build) install_missing need_build "what compiling needs" ;;
    stack) exec "$(dirname "$0")/real/install.sh" ;;
    *) echo "usage: $0 build|stack" >&2; exit 2 ;;
esac
