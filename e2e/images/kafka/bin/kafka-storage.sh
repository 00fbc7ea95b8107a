#!/bin/sh
# kafka-storage.sh format --config FILE --cluster-id ID [--add-scram …], as upstream.
exec "$(dirname "$0")/kafka-run-class.sh" kafka.tools.StorageTool "$@"
