set -eu
# The official image keeps its program there.
export PATH="$PATH:/app"
mkdir -p /data/objects /data/versions /data/iam
exec versitygw --port 0.0.0.0:7070 --health /healthz --quiet --iam-dir /data/iam posix --versioning-dir /data/versions /data/objects
