#!/bin/sh
# Installs what the tests against real databases, Kafka and Debezium need: Debian packages and jars.
# Running it again is free: what is there stays. It starts nothing and listens on nothing.
#
#   tests/real/install.sh             packages (only as root; otherwise it says what to install), then jars
#   tests/real/install.sh --jars      the jars alone
#   tests/real/install.sh --where     prints where jars, connector plugins and formatted storage are, or fails
#
# The jars go to ${EVENKEEL_CACHE:-$HOME/.cache/evenkeel}/stack. Maven and apt are used as the machine has
# them configured. A step that is interrupted leaves nothing half done: each arrives under its final name last.
set -eu

KAFKA=4.3.0
SLF4J_IMPL=2.25.3
POSTGRES_CONNECTOR=3.6.3.Final
MARIADB_CONNECTOR=3.5.0.Final # the newest that is published as a plugin archive

here=$(cd "$(dirname "$0")" && pwd)
stack=${EVENKEEL_CACHE:-$HOME/.cache/evenkeel}/stack
lib=$stack/kafka-$KAFKA
plugins=$stack/plugins-$POSTGRES_CONNECTOR-$MARIADB_CONNECTOR
format=$stack/kafka-format-$KAFKA

# A signal ends the script by way of its EXIT trap, which cleans up.
trap 'exit 130' INT TERM HUP

say() { echo "install: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

have_postgres() { for it in /usr/lib/postgresql/*/bin/postgres; do [ -x "$it" ] && return 0; done; have postgres; }
have_mariadb() { have mariadbd || [ -x /usr/sbin/mariadbd ]; }
have_java() {
    have java || return 1
    major=$(java -version 2>&1 | sed -n 's/.* version "\([0-9]*\).*/\1/p;q')
    [ "${major:-0}" -ge 17 ]
}
jars_complete() { [ -d "$lib" ] && [ -d "$plugins" ] && [ -d "$format" ]; }

missing_packages() {
    have_postgres || echo postgresql
    have_mariadb || echo mariadb-server
    have_java || echo openjdk-17-jre-headless
    have setpriv || echo util-linux
    jars_complete || have mvn || echo maven
}

# The packages would start their own servers. The tests never touch those, so they are kept from starting at all.
install_packages() {
    missing=$(missing_packages | tr '\n' ' ')
    if [ -z "$missing" ]; then
        say "packages: all there"
        return
    fi
    if ! have apt-get; then
        say "this is no Debian: install what these packages hold, then run this again: $missing" >&2
        exit 1
    fi
    if [ "$(id -u)" -ne 0 ]; then
        say "not root, so do this and run this again: sudo apt-get install --no-install-recommends $missing" >&2
        exit 1
    fi
    say "packages: installing $missing"
    policy=/usr/sbin/policy-rc.d
    if [ ! -e "$policy" ]; then
        trap 'rm -f "$policy"' EXIT
        printf '#!/bin/sh\nexit 101\n' >"$policy"
        chmod 755 "$policy"
    fi
    log=$(mktemp)
    # shellcheck disable=SC2086 # a list of package names
    if ! { apt-get update -q && DEBIAN_FRONTEND=noninteractive \
        apt-get install -q -y --no-install-recommends $missing; } >"$log" 2>&1; then
        tail -n 40 "$log" >&2
        say "apt-get failed" >&2
        exit 1
    fi
    rm -f "$log"
}

# Runs the two executions of the pom beside this script, and unpacks what they fetch.
install_jars() {
    if jars_complete; then
        say "jars: all there, in $stack"
        return
    fi
    have mvn || { say "mvn is missing: apt-get install maven" >&2; exit 1; }
    work=$stack/.work.$$
    mkdir -p "$work"
    trap 'rm -rf "$work"; [ -z "${policy:-}" ] || rm -f "$policy"' EXIT
    say "jars: fetching Kafka $KAFKA and Debezium $POSTGRES_CONNECTOR, $MARIADB_CONNECTOR"
    cp "$here/stack-pom.xml" "$work/pom.xml"
    mvn -q -B -f "$work/pom.xml" generate-resources \
        -Dkafka.version="$KAFKA" -Dslf4j.impl.version="$SLF4J_IMPL" \
        -Dpostgres.connector.version="$POSTGRES_CONNECTOR" -Dmariadb.connector.version="$MARIADB_CONNECTOR" \
        >"$work/maven.log" 2>&1 || { tail -n 40 "$work/maven.log" >&2; say "maven failed" >&2; exit 1; }
    mkdir "$work/plugins"
    for archive in "$work"/archives/*.tar.gz; do tar -xzf "$archive" -C "$work/plugins"; done
    publish "$work/lib" "$lib"
    publish "$work/plugins" "$plugins"
    format_storage
    say "jars: $(du -sh "$stack" | cut -f1) in $stack"
}

# Formatting takes a JVM start; the result says nothing of ports or folders, so each run copies it.
format_storage() {
    say "jars: formatting Kafka's storage once"
    cat >"$work/format.properties" <<END
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:9093
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://127.0.0.1:9092,CONTROLLER://127.0.0.1:9093
log.dirs=$work/format
END
    java -Xshare:auto -XX:TieredStopAtLevel=1 -cp "$lib/*" kafka.tools.StorageTool format \
        --cluster-id ZXZlbmtlZWwtdGVzdHMtMQ --config "$work/format.properties" >"$work/format.log" 2>&1 ||
        { tail -n 40 "$work/format.log" >&2; say "formatting failed" >&2; exit 1; }
    publish "$work/format" "$format"
}

# publish FROM TO: another run may have been quicker; what is there then is as good.
publish() {
    mv -T "$1" "$2" 2>/dev/null || [ -d "$2" ]
}

case "${1:-}" in
--where)
    jars_complete || exit 1
    printf '%s\n' "$lib" "$plugins" "$format"
    ;;
--jars) install_jars ;;
"")
    install_packages
    install_jars
    ;;
*)
    say "unknown option $1" >&2
    exit 2
    ;;
esac
