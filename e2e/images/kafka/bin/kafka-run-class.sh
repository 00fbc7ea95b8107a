#!/bin/sh
# Runs one of Kafka's classes, with the variables of the upstream script of this name: KAFKA_HEAP_OPTS,
# KAFKA_JVM_PERFORMANCE_OPTS, KAFKA_LOG4J_OPTS, KAFKA_OPTS, JAVA_HOME. What it does not know of upstream: JMX, GC logs.
set -eu
home=$(cd "$(dirname "$0")/.." && pwd)
java=${JAVA_HOME:-$home/jre}/bin/java
# -name is upstream's way to name a log file of the garbage collector; there is none here.
while :; do
  case ${1-} in
    -name) shift 2 ;;
    -loggc) shift ;;
    *) break ;;
  esac
done
# The options are lists of words, as upstream.
# shellcheck disable=SC2086
exec "$java" ${KAFKA_HEAP_OPTS--Xmx256M} ${KAFKA_JVM_PERFORMANCE_OPTS--XX:+UseSerialGC} ${KAFKA_LOG4J_OPTS-} ${KAFKA_OPTS-} \
  -Djava.io.tmpdir="${TMPDIR:-/tmp}" -cp "$home/libs/*" "$@"
