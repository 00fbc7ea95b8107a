set -eu
# As PID 1 a shell ignores what it has no trap for: a pod deleted while it starts would sit out its grace period.
trap "exit 143" TERM
umask 077
if [ ! -s "$PGDATA/PG_VERSION" ]; then
  # Into a side directory first: a crash in the middle must not leave a half-made cluster that looks whole.
  rm -rf "$PGDATA.new"
  printf '%s' "$POSTGRES_PASSWORD" > /tmp/superuser
  # The order of texts is Postgres's own: by the C library's an image with a newer one would find indexes out of order.
  initdb -D "$PGDATA.new" --username=postgres --pwfile=/tmp/superuser --encoding=UTF8 --locale-provider=builtin --builtin-locale=C.UTF-8 --locale=C.UTF-8 --lc-messages=C --auth=scram-sha-256 --no-instructions
  rm /tmp/superuser
  mv "$PGDATA.new" "$PGDATA"
fi
# A volume's fsGroup may have made it group-writable, which Postgres refuses.
chmod 700 "$PGDATA"
literal() { printf '%s' "$1" | sed "s/'/''/g"; }
role() { # NAME PASSWORD
  printf "DO \$\$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = '%s') THEN CREATE ROLE %s; END IF; END \$\$;\n" "$1" "$1"
  printf "ALTER ROLE %s LOGIN PASSWORD '%s';\n" "$1" "$(literal "$2")"
}
{
  printf "ALTER ROLE postgres PASSWORD '%s';\n" "$(literal "$POSTGRES_PASSWORD")"
  role meridian "$MERIDIAN_PASSWORD"
  role temporal "$TEMPORAL_PASSWORD"
  echo 'CREATE DATABASE meridian OWNER meridian;'
  echo 'CREATE DATABASE temporal OWNER temporal;'
  echo 'CREATE DATABASE temporal_visibility OWNER temporal;'
} > /tmp/roles.sql
if ! postgres --single -D "$PGDATA" -c log_checkpoints=off postgres < /tmp/roles.sql > /tmp/roles.log 2>&1 ||
  grep -E '(ERROR|FATAL|PANIC):' /tmp/roles.log | grep -v 'database "[a-z_]*" already exists'; then
  echo 'creating roles and databases failed' >&2
  grep -E '(ERROR|FATAL|PANIC):' /tmp/roles.log >&2 || true
  exit 1
fi
rm /tmp/roles.sql
exec postgres -D "$PGDATA" -c config_file=/etc/meridian/postgresql.conf
