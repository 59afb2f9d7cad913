#!/bin/sh
# Installs what is missing: `build` for compiling, `stack` for the real-stack suite, `mutate` for tests/mutate.sh.
# Quick when nothing is. Says what it does. Only packages need root: an ordinary user's are installed by sudo.
# Debian 12; elsewhere it prints what is needed.
set -eu

here=$(cd "$(dirname "$0")" && pwd)

have() { command -v "$1" >/dev/null 2>&1; }
say() { echo "install: $*"; }
fail() { say "$*" >&2; exit 1; }

need_build() {
    # gcc, g++, make: librdkafka and RocksDB. libclang: bindings to RocksDB. OpenSSL, zlib: librdkafka.
    for it in gcc g++ make pkg-config; do have "$it" || echo "$it"; done
    [ -e /usr/include/openssl/ssl.h ] || echo libssl-dev
    [ -e /usr/include/zlib.h ] || echo zlib1g-dev
    ls /usr/lib/llvm-*/lib/libclang.so* /usr/lib/*/libclang*.so* >/dev/null 2>&1 || echo libclang-dev
}

need_stack() {
    # Servers are not in an ordinary user's PATH.
    have postgres || ls /usr/lib/postgresql/*/bin/postgres >/dev/null 2>&1 || echo postgresql
    have mariadbd || [ -x /usr/sbin/mariadbd ] || echo mariadb-server
    have_java || echo openjdk-17-jre-headless
    have setpriv || echo util-linux
    # AsyncAPI's validator, and the Python consumer.
    have node || echo nodejs
    have python3 || echo python3
    # Each fetches, once, what the tests run.
    "$here/real/install.sh" --where >/dev/null 2>&1 || need_fetchers
}

need_fetchers() {
    have mvn || echo maven
    have npm || echo npm
    python3 -c 'import ensurepip, venv' 2>/dev/null || echo python3-venv
}

have_java() {
    have java || return 1
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p;q')
    [ "${major:-0}" -ge 17 ]
}

need_mutate() {
    for it in python3 git; do have "$it" || echo "$it"; done
}

# install_missing NEED WHAT
install_missing() {
    missing=$("$1" | sort -u | tr '\n' ' ')
    missing=${missing% }
    [ -n "$missing" ] || return 0
    have apt-get || fail "this is no Debian: install what these packages hold, then try again: $missing"
    by_hand="as root, apt-get install --no-install-recommends $missing; then try again"
    # shellcheck disable=SC2086 # a list of package names
    if [ "$(id -u)" -eq 0 ]; then
        say "$2: installing $missing"
        install_packages $missing
    elif have sudo; then
        say "$2: installing, by sudo, $missing"
        sudo sh "$here/install.sh" --packages $missing || fail "that failed. By hand: $by_hand"
    else
        fail "$2: $missing is missing, you are not root, and there is no sudo. By hand: $by_hand"
    fi
}

# Packages would start their own servers. The tests never touch those, so they are kept from starting at all.
install_packages() {
    policy=/usr/sbin/policy-rc.d
    log=$(mktemp)
    made=""
    trap 'rm -f "$log" $made' EXIT
    # A signal ends the script by way of its EXIT trap.
    trap 'exit 130' INT TERM HUP
    if [ ! -e "$policy" ]; then
        made=$policy
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    export DEBIAN_FRONTEND=noninteractive
    if ! { apt-get update -q && apt-get install -q -y --no-install-recommends "$@"; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        fail "apt-get failed"
    fi
}

case "${1:-}" in
build) install_missing need_build "what compiling needs" ;;
mutate) install_missing need_mutate "what tests/mutate.sh needs" ;;
stack)
    # In a shell of its own: its clean-up comes before what follows.
    (install_missing need_stack "servers of the real stack")
    exec "$here/real/install.sh" --parts
    ;;
--packages)
    shift
    install_packages "$@"
    ;;
*)
    echo "usage: $0 build|stack|mutate" >&2
    exit 2
    ;;
esac
