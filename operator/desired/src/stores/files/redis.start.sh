set -eu
umask 077
{ cat /etc/meridian/redis.conf; printf 'requirepass "%s"\n' "$(printf '%s' "$REDIS_PASSWORD" | sed 's/[\\"]/\\&/g')"; } > /tmp/redis.conf
exec redis-server /tmp/redis.conf
