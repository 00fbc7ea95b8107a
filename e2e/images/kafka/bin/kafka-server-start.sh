#!/bin/sh
# kafka-server-start.sh server.properties [--override KEY=VALUE], as upstream (without -daemon).
set -eu
export KAFKA_HEAP_OPTS="${KAFKA_HEAP_OPTS--Xms256m -Xmx256m}"
exec "$(dirname "$0")/kafka-run-class.sh" kafka.Kafka "$@"
