#!/usr/bin/env bash
# As Apache Kafka's script of this name, as far as its variables are used.
# shellcheck disable=SC2086 # each holds several options
exec java ${KAFKA_HEAP_OPTS:--Xmx256m} ${KAFKA_JVM_PERFORMANCE_OPTS:--XX:+UseSerialGC} -cp '/opt/kafka/libs/*' "$@"
