#!/bin/sh
# Installs what the tests against real databases, Kafka and Debezium need: Debian packages and jars.
# Running it again is free: what is there stays. It starts nothing and listens on nothing.
#
#   tests/real/install.sh             packages (tests/install.sh does that: by sudo where you are not root), then jars
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

jars_complete() { [ -d "$lib" ] && [ -d "$plugins" ] && [ -d "$format" ]; }

# Runs the two executions of the pom beside this script, and unpacks what they fetch.
install_jars() {
    if jars_complete; then
        say "jars: all there, in $stack"
        return
    fi
    have mvn || { say "maven is missing: run $here/install.sh without options" >&2; exit 1; }
    work=$stack/.work.$$
    mkdir -p "$work"
    trap 'rm -rf "$work"' EXIT
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
"") exec "$here/../install.sh" stack ;;
*)
    say "unknown option $1" >&2
    exit 2
    ;;
esac
