#!/usr/bin/env bash
# Fuzzes one target for some seconds: run.sh TARGET SECONDS. Inputs that reached something new are kept in corpus/,
# findings in crashes/; git ignores both.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
target=$1 seconds=$2
# A stable compiler: counters of coverage are asked of the passes of LLVM directly.
build=$PWD/../../target
RUSTC_WRAPPER=$PWD/rustc-counted.sh cargo build --locked --target-dir "$build"
program=$build/debug/aipl-fuzz
memory=/dev/shm
[ -d "$memory" ] && [ -w "$memory" ] || memory=${TMPDIR:-/tmp}
folder=$(mktemp -d "$memory/aipl-fuzz.XXXXXX")
trap 'rm -rf "$folder"' EXIT
export AIPL_FUZZ_TARGET=$target AIPL_FUZZ_FOLDER=$folder/run
mkdir -p "corpus/$target" crashes "$folder/seeds" "$folder/run"
AIPL_FUZZ_FOLDER=$folder/seeds AIPL_FUZZ_SEEDS=corpus/$target "$program"
"$program" "corpus/$target" -artifact_prefix="crashes/$target-" -max_total_time="$seconds" -timeout=20 \
  -rss_limit_mb=1024 -max_len=8192 -print_final_stats=1 -verbosity=0
