set -eu
# As PID 1 a shell ignores what it has no trap for: a pod deleted while it starts would sit out its grace period.
trap "exit 143" TERM
export KAFKA_NODE_ID="${POD_NAME##*-}"
if [ ! -f /var/lib/kafka/data/log/meta.properties ]; then
  # The only moment at which KRaft takes a SCRAM user without being asked by one.
  /opt/kafka/bin/kafka-storage.sh format --config /etc/meridian/server.properties --cluster-id "$KAFKA_CLUSTER_ID" \
    --add-scram "SCRAM-SHA-512=[name=meridian,password=$KAFKA_PASSWORD]"
fi
exec /opt/kafka/bin/kafka-server-start.sh /etc/meridian/server.properties
