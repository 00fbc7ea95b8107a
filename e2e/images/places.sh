# shellcheck shell=bash
# Where things are. Sourced by fetch, build and ../stores; never run.

images_dir=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
repository=$(cd "$images_dir/../.." && pwd)
# shellcheck source=SCRIPTDIR/../say.sh
. "$repository/e2e/say.sh"
# One directory for each store: the unpacked upstream software, at once the build context of its image and what
# ../stores starts.
# shellcheck disable=SC2034 # for those who source this
artefacts=$cache/artefacts
export CARGO_TARGET_DIR=${CARGO_TARGET_DIR:-$cache/target}

# inputs_hash FILE|DIRECTORY…: one hash over the names and contents of everything named.
inputs_hash() {
  (cd "$repository" && find "$@" -type f -not -path '*/node_modules/*' -print0 | LC_ALL=C sort -z | xargs -0 sha256sum | sha256sum | cut -c1-12)
}

# stores_tests: the features by which crates run their tests against real stores. Every cargo command that compiles for tests
# or images names them: another choice would resolve other features, and compile the tree once more.
stores_tests() {
  cargo metadata --manifest-path "$repository/Cargo.toml" --no-deps --format-version 1 --locked |
    jq -r '[.packages[] | select(.features | has("stores-tests")) | .name + "/stores-tests"] | join(",")'
}
