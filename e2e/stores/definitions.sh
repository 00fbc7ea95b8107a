# shellcheck shell=bash
# What each store is: prepare_X makes what it needs once, run_X starts it, answers_X asks whether it serves. Sourced.

# shellcheck source=SCRIPTDIR/instance.sh
. "$(dirname "${BASH_SOURCE[0]}")/instance.sh"

# Postgres refuses to run as root. As "nobody" it still has to pass through root's home to reach the cache, so it keeps
# the one capability that reads past directory permissions (and, by the securebit, keeps it for access(2) too).
unprivileged=()
[ "$(id -u)" != 0 ] ||
  unprivileged=(setpriv --reuid=nobody --regid=nogroup --clear-groups --securebits=+no_setuid_fixup --inh-caps=+dac_override --ambient-caps=+dac_override)

prepare_postgres() {
  local data=$state/postgres/data pgsql=$artefacts/postgres/pgsql role
  [ ! -s "$data/PG_VERSION" ] || return 0
  rm -rf "$data.new"
  mkdir -p "$data.new"
  [ "$(id -u)" != 0 ] || chown nobody:nogroup "$data.new"
  echo "$STORES_PASSWORD" >"$state/postgres/password"
  "${unprivileged[@]}" "$pgsql/bin/initdb" -D "$data.new" --username=postgres --pwfile="$state/postgres/password" \
    --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C.UTF-8 --lc-messages=C --auth=scram-sha-256 --no-sync --no-instructions
  cat "$stores_dir/config/postgresql.conf" >>"$data.new/postgresql.conf"
  {
    for role in meridian temporal; do echo "CREATE ROLE $role LOGIN CREATEDB PASSWORD '$STORES_PASSWORD';"; done
    echo "CREATE DATABASE meridian OWNER meridian;"
    echo "CREATE DATABASE temporal OWNER temporal;"
    echo "CREATE DATABASE temporal_visibility OWNER temporal;"
  } >"$state/postgres/roles.sql"
  # Single-user mode reports errors and goes on: none is expected here.
  "${unprivileged[@]}" "$pgsql/bin/postgres" --single -D "$data.new" postgres <"$state/postgres/roles.sql" >"$state/postgres/roles.log" 2>&1
  if grep -E '(ERROR|FATAL|PANIC):' "$state/postgres/roles.log"; then return 1; fi
  mv "$data.new" "$data"
}
run_postgres() {
  local left
  # After kill -9 the pid that it wrote down may stand for a process that is dead but that nobody has waited for (in a
  # container whose first process does not reap). Postgres takes it for alive; we know better.
  if read -r left <"$state/postgres/data/postmaster.pid" && [ -z "$(started_at "$left")" ]; then
    rm "$state/postgres/data/postmaster.pid"
  fi 2>/dev/null
  launch postgres "${unprivileged[@]}" "$artefacts/postgres/pgsql/bin/postgres" -D "$state/postgres/data" \
    -c listen_addresses=127.0.0.1 -c port="$(port postgres)"
}
answers_postgres() { "$artefacts/postgres/pgsql/bin/pg_isready" -q -h 127.0.0.1 -p "$(port postgres)"; }

prepare_clickhouse() { mkdir -p "$state/clickhouse/data"; }
run_clickhouse() {
  CLICKHOUSE_LIBRARY=$artefacts/clickhouse/libchdb.so CLICKHOUSE_PASSWORD=$STORES_PASSWORD \
    launch clickhouse "$artefacts/clickhouse/clickhouse-server" --config-file="$stores_dir/config/clickhouse/config.xml" -- \
    --path="$state/clickhouse/data" --http_port="$(port clickhouse)" --tcp_port="$(port clickhouse-native)"
}
answers_clickhouse() { [ "$(curl -sf "http://127.0.0.1:$(port clickhouse)/ping")" = Ok. ]; }

kafka_environment() {
  export KAFKA_PORT KAFKA_CONTROLLER_PORT KAFKA_DATA=$state/kafka/data KAFKA_PASSWORD=$STORES_PASSWORD TMPDIR=$state/kafka
  KAFKA_PORT=$(port kafka)
  KAFKA_CONTROLLER_PORT=$(port kafka-controller)
  export KAFKA_HEAP_OPTS="-Xms256m -Xmx256m" KAFKA_LOG4J_OPTS="-Dlog4j2.configurationFile=$stores_dir/config/log4j2.yaml"
  export KAFKA_JVM_PERFORMANCE_OPTS="-XX:+UseSerialGC -XX:MaxMetaspaceSize=128m -XX:ReservedCodeCacheSize=48m -Xss512k -XX:-UsePerfData"
}
prepare_kafka() (
  [ ! -f "$state/kafka/data/meta.properties" ] || return 0
  kafka_environment
  mkdir -p "$state/kafka"
  "$artefacts/kafka/kafka/bin/kafka-storage.sh" format --config "$stores_dir/config/kafka.properties" \
    --cluster-id bG9vcGJhY2stc3RvcmVzLg --add-scram "SCRAM-SHA-512=[name=meridian,password=$STORES_PASSWORD]"
)
run_kafka() {
  kafka_environment
  launch kafka "$artefacts/kafka/kafka/bin/kafka-server-start.sh" "$stores_dir/config/kafka.properties"
}
# Its port is open before it serves: the line in the log of this start comes after.
answers_kafka() { grep -q 'Kafka Server started' "$state/kafka/log" && open_port "$(port kafka)"; }

prepare_redis() { mkdir -p "$state/redis/data"; }
run_redis() {
  launch redis "$artefacts/redis/bin/redis-server" --bind 127.0.0.1 --port "$(port redis)" --dir "$state/redis/data" \
    --appendonly yes --save '' --maxmemory 64mb --maxmemory-policy allkeys-lru --requirepass "$STORES_PASSWORD"
}
answers_redis() { [ "$(REDISCLI_AUTH=$STORES_PASSWORD redis-cli -p "$(port redis)" ping 2>/dev/null)" = PONG ]; }

prepare_buffer() { mkdir -p "$state/buffer/data"; }
run_buffer() {
  launch buffer "$artefacts/buffer/bin/node" "$artefacts/buffer/node_modules/dynalite/cli.js" --host 127.0.0.1 --port "$(port buffer)" \
    --path "$state/buffer/data" --createTableMs 0 --deleteTableMs 0
}
answers_buffer() { curl -sf -o /dev/null "http://127.0.0.1:$(port buffer)/"; }

prepare_objectstore() { mkdir -p "$state"/objectstore/{objects,versions,iam}; }
run_objectstore() {
  ROOT_ACCESS_KEY=meridian ROOT_SECRET_KEY=$STORES_PASSWORD \
    launch objectstore "$artefacts/objectstore/bin/versitygw" --port "127.0.0.1:$(port objectstore)" --health /healthz --quiet \
    --iam-dir "$state/objectstore/iam" posix --versioning-dir "$state/objectstore/versions" "$state/objectstore/objects"
}
answers_objectstore() { curl -sf -o /dev/null "http://127.0.0.1:$(port objectstore)/healthz"; }

prepare_temporal() (
  answers_postgres || fail "temporal keeps its state in postgres, which does not answer: e2e/stores/up postgres temporal"
  export SQL_PLUGIN=postgres12 SQL_HOST=127.0.0.1 SQL_USER=temporal SQL_PASSWORD=$STORES_PASSWORD SQL_PORT
  SQL_PORT=$(port postgres)
  local tool=$artefacts/temporal/bin/temporal-sql-tool
  mkdir -p "$state/temporal"
  "$tool" --db temporal setup-schema -v 0.0
  "$tool" --db temporal update-schema --schema-name postgresql/v12/temporal
  "$tool" --db temporal_visibility setup-schema -v 0.0
  "$tool" --db temporal_visibility update-schema --schema-name postgresql/v12/visibility
)
run_temporal() {
  POSTGRES_PORT=$(port postgres) TEMPORAL_PORT=$(port temporal) USER=temporal \
    launch temporal "$artefacts/temporal/bin/temporal-server" --config-file "$stores_dir/config/temporal.yaml" --allow-no-auth start
}
# It serves when the namespace is there that the services use; the first one to ask registers it.
answers_temporal() {
  local namespaces
  namespaces=http://127.0.0.1:$(($(port temporal) + 20))/api/v1/namespaces
  curl -sf -o /dev/null "$namespaces/default" ||
    curl -sf -o /dev/null -H 'Content-Type: application/json' "$namespaces" \
      -d '{"namespace": "default", "workflowExecutionRetentionPeriod": "86400s"}'
}

open_port() { (exec 3<>"/dev/tcp/127.0.0.1/$1") 2>/dev/null; }
