#!/bin/sh
# Installs what the tests against real databases, Kafka and Debezium need: Debian packages and jars.
# Running it again is free: what is there stays. It starts nothing and listens on nothing.
#
#   tests/real/install.sh             packages (tests/install.sh does that: by sudo where you are not root), then jars
#   tests/real/install.sh --jars      the jars alone
#   tests/real/install.sh --where     prints where jars, connector plugins, formatted storage and registry are, or fails
#
# The jars go to ${EVENKEEL_CACHE:-$HOME/.cache/evenkeel}/stack. Maven and apt are used as the machine has
# them configured. A step that is interrupted leaves nothing half done: each arrives under its final name last.
set -eu

KAFKA=4.3.0
SLF4J_IMPL=2.25.3
POSTGRES_CONNECTOR=3.6.3.Final
POSTGRES_CONNECTOR_NEXT=3.7.0.Final # for what changed since: each connector says which of the two it wants
MARIADB_CONNECTOR=3.5.0.Final # the newest that is published as a plugin archive
AVRO_CONVERTER=2.6.13.Final   # Apicurio's
REGISTRY=3.0.9                # the newest that is published and runs on Java 17

here=$(cd "$(dirname "$0")" && pwd)
stack=${EVENKEEL_CACHE:-$HOME/.cache/evenkeel}/stack
lib=$stack/kafka-$KAFKA
plugins=$stack/plugins-$POSTGRES_CONNECTOR-$POSTGRES_CONNECTOR_NEXT-$MARIADB_CONNECTOR
format=$stack/kafka-format-$KAFKA
registry=$stack/registry-$AVRO_CONVERTER-$REGISTRY

# A signal ends the script by way of its EXIT trap, which cleans up.
trap 'exit 130' INT TERM HUP

say() { echo "install: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

jars_complete() { [ -d "$lib" ] && [ -d "$plugins" ] && [ -d "$format" ] && [ -d "$registry" ]; }

# Each part is fetched where it is not there.
install_jars() {
    if jars_complete; then
        say "jars: all there, in $stack"
        return
    fi
    have mvn || { say "maven is missing: run $here/install.sh without options" >&2; exit 1; }
    work=$stack/.work.$$
    mkdir -p "$work"
    trap 'rm -rf "$work"' EXIT
    [ -d "$lib" ] && [ -d "$plugins" ] && [ -d "$format" ] || install_kafka
    [ -d "$registry" ] || install_registry
    say "jars: $(du -sh "$stack" | cut -f1) in $stack"
}

# maven FOLDER ARGUMENT...
maven() {
    folder=$1
    shift
    (cd "$folder" && mvn -q -B "$@") >"$work/maven.log" 2>&1 ||
        { tail -n 40 "$work/maven.log" >&2; say "maven failed" >&2; exit 1; }
}

# Runs the two executions of the pom beside this script, and unpacks what they fetch.
install_kafka() {
    say "jars: fetching Kafka $KAFKA and Debezium $POSTGRES_CONNECTOR, $POSTGRES_CONNECTOR_NEXT, $MARIADB_CONNECTOR"
    cp "$here/stack-pom.xml" "$work/pom.xml"
    maven "$work" generate-resources \
        -Dkafka.version="$KAFKA" -Dslf4j.impl.version="$SLF4J_IMPL" \
        -Dpostgres.connector.version="$POSTGRES_CONNECTOR" -Dmariadb.connector.version="$MARIADB_CONNECTOR" \
        -Dpostgres.connector.next.version="$POSTGRES_CONNECTOR_NEXT"
    mkdir "$work/plugins"
    # Two versions of one connector are two plugins: each has a folder of its own.
    for archive in "$work"/archives/*.tar.gz; do
        plugin=$work/plugins/$(basename "$archive" -plugin.tar.gz)
        mkdir "$plugin"
        tar -xzf "$archive" -C "$plugin" --strip-components=1
    done
    publish "$work/lib" "$lib"
    publish "$work/plugins" "$plugins"
    format_storage
}

# The converter does not say what it is, so a jar beside it does: else Connect would look into every class.
install_registry() {
    say "jars: fetching Apicurio's Avro converter $AVRO_CONVERTER and its registry $REGISTRY"
    mkdir -p "$work/avro/services/META-INF/services" "$work/app" "$work/parts/app"
    cp "$here/registry-pom.xml" "$work/avro/pom.xml"
    echo io.apicurio.registry.utils.converter.AvroConverter \
        >"$work/avro/services/META-INF/services/org.apache.kafka.connect.storage.Converter"
    maven "$work/avro" generate-resources -Dconverter.version="$AVRO_CONVERTER"
    # The archive's parent pom is not published, which newer versions of the plugin insist on.
    maven "$work/app" org.apache.maven.plugins:maven-dependency-plugin:2.8:copy \
        -Dartifact=io.apicurio:apicurio-registry-app:"$REGISTRY":tar.gz:all -DoutputDirectory="$work/app"
    tar -xzf "$work"/app/*.tar.gz -C "$work/parts/app"
    mkdir "$work/parts/plugins"
    mv "$work/avro/converter" "$work/parts/plugins/converter"
    publish "$work/parts" "$registry"
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
    printf '%s\n' "$lib" "$plugins" "$format" "$registry"
    ;;
--jars) install_jars ;;
"") exec "$here/../install.sh" stack ;;
*)
    say "unknown option $1" >&2
    exit 2
    ;;
esac
