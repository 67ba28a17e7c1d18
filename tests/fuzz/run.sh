#!/bin/bash
# Fuzzes every target for a while, and says how much was run and what was found.
#
#     tests/fuzz/run.sh [TARGET...]      default: all
#
# FUZZ_SECONDS is how long each runs (60), JOBS how many at once (one a processor). With KEEP=1 what
# was found to reach new code goes into tests/fuzz/corpus, as few and as short as will do.
#
# libFuzzer guides it, compiled from the sources in its crate; the program is compiled with LLVM's
# coverage counters, which the stable compiler has. No address sanitizer, which it has not: the
# targets are safe Rust, so that what is left to find are panics, hangs, memory, and wrong answers.
set -euo pipefail
cd "$(dirname "$0")"

seconds=${FUZZ_SECONDS:-60}
jobs=${JOBS:-$(nproc)}
out=../../target/fuzz
triple=$(rustc -vV | sed -n 's/^host: //p')
fuzzer=$out/build/$triple/release/fuzzer

# A piece of input that takes this long is a finding, and so is this much memory, in megabytes.
slow=5
memory=1024

# With --target, so that what runs while it is built (build scripts, derives) stays as it is.
build() {
    local level=-Cllvm-args=-sanitizer-coverage
    RUSTFLAGS="--cfg fuzzing -Cpasses=sancov-module -Ccodegen-units=1 $level-level=4
        $level-inline-8bit-counters $level-pc-table $level-trace-compares" \
        "${CARGO:-cargo}" build --release --locked --target "$triple" --target-dir $out/build
}

# Words of the grammars, so that the fuzzer need not guess them letter by letter.
words() {
    grep -rhoE '"[A-Za-z][A-Za-z_-]{1,30}"' ../../src/config ../../src/wire | sort -u
}

# one TARGET: runs it, and leaves its figures in $out/TARGET.row.
one() {
    local name=$1 status=0
    rm -rf "$out/$name.seeds" "$out/$name.row"
    mkdir -p "$out/$name.new" "$out/findings"
    PISUP_FUZZ=$name PISUP_FUZZ_UNPACK=$out/$name.seeds "$fuzzer"
    PISUP_FUZZ=$name "$fuzzer" -max_total_time="$seconds" -timeout=$slow -rss_limit_mb=$memory \
        -max_len=8192 -dict=$out/words.dict -print_final_stats=1 -verbosity=1 \
        -artifact_prefix="$out/findings/$name-" "$out/$name.new" "$out/$name.seeds" \
        >"$out/$name.log" 2>&1 || status=$?
    awk -v name="$name" -v status=$status '
        / cov: [0-9]+ ft: [0-9]+ / {
            for (i = 1; i < NF; i++) {
                if ($i == "cov:") edges = $(i + 1)
                if ($i == "ft:") features = $(i + 1)
                if ($i == "corp:") inputs = $(i + 1)
            }
        }
        /^stat::number_of_executed_units:/ { runs = $2 }
        /^stat::average_exec_per_sec:/ { rate = $2 }
        /^stat::slowest_unit_time_sec:/ { slowest = $2 }
        /^stat::peak_rss_mb:/ { memory = $2 }
        END {
            sub("/.*", "", inputs)
            printf "%-15s %11d %8d %7d %9d %7d %5d s %5d MB  %s\n", name, runs, rate, edges,
                features, inputs, slowest, memory, status ? "FOUND" : "-"
        }' "$out/$name.log" >"$out/$name.row"
    [ $status = 0 ] || cat "$out/$name.log" >&2
    return $status
}

# keep TARGET: what reaches new code beside the seeds, into the corpus.
keep() {
    local name=$1 all=$out/$1.all small=$out/$1.small
    rm -rf "$all" "$small"
    mkdir -p "$all" "$small"
    # Only short ones: the corpus is read by people, and long ones are rarely needed.
    find "$out/$name.new" -type f -size -512c -exec cp -t "$all" {} +
    PISUP_FUZZ=$name "$fuzzer" -set_cover_merge=1 -use_counters=0 \
        "$small" "$out/$name.seeds" "$all" >"$out/$name.merge" 2>&1
    PISUP_FUZZ=$name PISUP_FUZZ_PACK=$small "$fuzzer"
}

if [ "${1-}" = --one ]; then
    one "$2"
    exit
fi

mkdir -p $out
build
words >$out/words.dict
all=$(PISUP_FUZZ=list "$fuzzer")
targets=${*:-$all}
status=0
# shellcheck disable=SC2086
printf '%s\n' $targets | xargs -P "$jobs" -n 1 "./$(basename "$0")" --one || status=$?

printf '%-15s %11s %8s %7s %9s %7s %7s %8s  %s\n' \
    target executions /second edges features inputs slowest memory finding
for name in $targets; do cat "$out/$name.row"; done | tee "$out/rows"
awk '{ runs += $2; found += $NF == "FOUND" }
    END { print runs " executions, " found + 0 " findings" }' "$out/rows"
if [ -n "${KEEP-}" ]; then for name in $targets; do keep "$name"; done; fi
if [ $status != 0 ]; then
    echo "what was found is in target/fuzz/findings; once more: PISUP_FUZZ=TARGET $fuzzer FILE" >&2
fi
exit $status
