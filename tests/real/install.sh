#!/bin/sh
# Installs what the tests against real databases, Kafka and Debezium need: Debian packages, jars, AsyncAPI's parser, and
# what the Python consumer imports. Running it again is free: what is there stays. It starts nothing and listens on nothing.
#
#   tests/real/install.sh             packages (tests/install.sh does that: by sudo where you are not root), then the rest
#   tests/real/install.sh --parts     the rest alone
#   tests/real/install.sh --where     prints where jars, connector plugins, formatted storage, registry, Node's modules,
#                                     Python's environment and MySQL's server are, or fails
#
# They go to ${EVENKEEL_CACHE:-$HOME/.cache/evenkeel}/stack. apt, Maven, npm and pip are used as the machine has
# them configured. A step that is interrupted leaves nothing half done: each arrives under its final name last.
set -eu

KAFKA=4.3.0
SLF4J_IMPL=2.25.3
POSTGRES_CONNECTOR=3.6.3.Final
POSTGRES_CONNECTOR_NEXT=3.7.0.Final # for what changed since: each connector says which of the two it wants
MARIADB_CONNECTOR=3.5.0.Final # the newest that is published as a plugin archive
MYSQL_CONNECTOR=3.5.0.Final   # the same
AVRO_CONVERTER=2.6.13.Final   # Apicurio's
REGISTRY=3.0.9                # the newest that is published and runs on Java 17

here=$(cd "$(dirname "$0")" && pwd)
stack=${EVENKEEL_CACHE:-$HOME/.cache/evenkeel}/stack
lib=$stack/kafka-$KAFKA
plugins=$stack/plugins-$POSTGRES_CONNECTOR-$POSTGRES_CONNECTOR_NEXT-$MARIADB_CONNECTOR-$MYSQL_CONNECTOR
format=$stack/kafka-format-$KAFKA
registry=$stack/registry-$AVRO_CONVERTER-$REGISTRY
requirements=$here/../../deploy/consumers/python/requirements.txt
sum() { cksum <"$1" | cut -d' ' -f1; }
modules=$stack/node-$(sum "$here/asyncapi/package-lock.json")
python=$stack/python-$(sum "$requirements")
mysql=$stack/mysql

# A signal ends the script by way of its EXIT trap, which cleans up.
trap 'exit 130' INT TERM HUP

say() { echo "install: $*"; }
have() { command -v "$1" >/dev/null 2>&1; }

jars_complete() { [ -d "$lib" ] && [ -d "$plugins" ] && [ -d "$format" ] && [ -d "$registry" ]; }
complete() { jars_complete && [ -d "$modules" ] && [ -d "$python" ]; }

# Each part is fetched where it is not there.
install_parts() {
    if complete && [ -d "$mysql" ]; then
        say "parts: all there, in $stack"
        return
    fi
    jars_complete || need mvn maven
    work=$stack/.work.$$
    mkdir -p "$work"
    trap 'rm -rf "$work"' EXIT
    [ -d "$lib" ] && [ -d "$plugins" ] && [ -d "$format" ] || install_kafka
    [ -d "$registry" ] || install_registry
    [ -d "$modules" ] || install_modules
    [ -d "$python" ] || install_python
    [ -d "$mysql" ] || install_mysql || say "no MySQL server: what needs one is not tested"
    say "parts: $(du -sh "$stack" | cut -f1) in $stack"
}

# need COMMAND PACKAGE
need() { have "$1" || { say "$2 is missing: run $here/install.sh without options" >&2; exit 1; }; }

# logged WHAT COMMAND...: shows what a command said only where it fails.
logged() {
    what=$1
    shift
    "$@" >"$work/$what.log" 2>&1 || { tail -n 40 "$work/$what.log" >&2; say "$what failed" >&2; exit 1; }
}

# maven FOLDER ARGUMENT...
maven() {
    folder=$1
    shift
    (cd "$folder" && logged maven mvn -q -B "$@")
}

# As the lock file says, by digest. No package may run anything of its own.
install_modules() {
    need npm npm
    say "node: fetching AsyncAPI's parser"
    mkdir "$work/node"
    cp "$here/asyncapi/package.json" "$here/asyncapi/package-lock.json" "$work/node"
    (cd "$work/node" && logged npm npm ci --ignore-scripts --no-audit --no-fund)
    publish "$work/node" "$modules"
}

# What is in an environment knows its place, so it is made there, and the mark that it is whole comes last.
install_python() {
    need python3 python3
    say "python: fetching what the consumer imports"
    rm -rf "$python.env"
    logged venv python3 -m venv "$python.env"
    logged pip "$python.env/bin/pip" install -q --disable-pip-version-check -r "$requirements"
    mkdir -p "$python"
}

# Runs the two executions of the pom beside this script, and unpacks what they fetch.
install_kafka() {
    say "jars: fetching Kafka $KAFKA and Debezium $POSTGRES_CONNECTOR, $POSTGRES_CONNECTOR_NEXT, $MARIADB_CONNECTOR, $MYSQL_CONNECTOR"
    cp "$here/stack-pom.xml" "$work/pom.xml"
    maven "$work" generate-resources \
        -Dkafka.version="$KAFKA" -Dslf4j.impl.version="$SLF4J_IMPL" \
        -Dpostgres.connector.version="$POSTGRES_CONNECTOR" -Dmariadb.connector.version="$MARIADB_CONNECTOR" \
        -Dmysql.connector.version="$MYSQL_CONNECTOR" \
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

# Debian's unstable alone packages a MySQL server. It comes with the libraries that it needs and runs beside the machine's own;
# which version that is changes, and it may be none for a while. apt is used with folders of its own: it touches no package here.
install_mysql() {
    [ "$(dpkg --print-architecture 2>/dev/null)" = amd64 ] || return 1
    archive=$(apt-get indextargets --format '$(REPO_URI)' 'Created-By: Packages' 2>/dev/null | grep -m1 '/debian/*$') || return 1
    say "mysql: fetching Debian unstable's server"
    apt=$work/apt
    mkdir -p "$apt/lists/partial" "$apt/archives/partial"
    : >"$apt/status"
    echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] $archive sid main" >"$apt/sources.list"
    unstable() {
        apt-get -qq -o Dir::Etc::sourcelist="$apt/sources.list" -o Dir::Etc::sourceparts=/dev/null \
            -o Dir::Etc::preferences=/dev/null -o Dir::Etc::preferencesparts=/dev/null \
            -o Dir::State::lists="$apt/lists" -o Dir::State::status="$apt/status" -o Dir::Cache="$apt" \
            -o Dir::Cache::archives="$apt/archives" -o Debug::NoLocking=1 -o APT::Sandbox::User="" \
            -o Acquire::http::Timeout=30 -o Acquire::Retries=2 -o Acquire::Languages=none "$@"
    }
    unstable update >"$work/mysql.log" 2>&1 &&
        unstable install --download-only --no-install-recommends -y mysql-server-core >>"$work/mysql.log" 2>&1 ||
        { tail -n 5 "$work/mysql.log" >&2; return 1; }
    for package in "$apt"/archives/*.deb; do
        dpkg-deb -x "$package" "$work/mysql" || return 1
    done
    chmod -R a+rX "$work/mysql"
    publish "$work/mysql" "$mysql"
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
    complete || exit 1
    printf '%s\n' "$lib" "$plugins" "$format" "$registry" "$modules/node_modules" "$python.env/bin/python3" "$mysql"
    ;;
--parts) install_parts ;;
"") exec "$here/../install.sh" stack ;;
*)
    say "unknown option $1" >&2
    exit 2
    ;;
esac
