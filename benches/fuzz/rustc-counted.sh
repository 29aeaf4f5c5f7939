#!/usr/bin/env bash
# Calls the compiler (cargo gives it as the first argument), with counters of coverage in the crates that are fuzzed.
counted=(-Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=3
  -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table
  -Cllvm-args=-sanitizer-coverage-trace-compares)
case " $* " in
  *" --crate-name aipl_core "* | *" --crate-name aipl_fuzz "*) exec "$@" "${counted[@]}" ;;
  *) exec "$@" ;;
esac
