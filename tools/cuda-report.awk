# What ptxas said, the symbols of the emulated library, and the launches of a dry run, as tables. Lines go out as
# "ORDER<tab>WITHIN<tab>text": the caller sorts, and takes C++ names apart.
BEGIN {
    # NVIDIA's data sheets, dense: A100 SXM 80 GB and H100 SXM. Bytes and operations a second.
    gpus = split("A100 H100", gpu, " ")
    bandwidth["A100"] = 2.039e12; bandwidth["H100"] = 3.35e12
    rate["A100", "fp32"] = 19.5e12; rate["H100", "fp32"] = 66.9e12
    rate["A100", "tf32"] = 156e12; rate["H100", "tf32"] = 494.7e12
    rate["A100", "bf16"] = 312e12; rate["H100", "bf16"] = 989.4e12
    # The programming guide's table of compute capabilities 8.0 and 9.0.
    arch["A100"] = "sm_80"; arch["H100"] = "sm_90"
    shared_of["sm_80"] = 164 * 1024; shared_of["sm_90"] = 228 * 1024
}

# ---- ptxas: "Compiling entry function 'NAME' for 'ARCH'", then its figures
/^ptxas info *: Compiling entry function/ {
    split($0, quoted, "'")
    kernel = quoted[2]; target = quoted[4]
    known[kernel] = 1
    next
}
/bytes stack frame/ {
    split($0, word, " ")
    spilled[kernel, target] += word[5] + word[9]
    next
}
/^ptxas info *: Used/ {
    for (i = split($0, word, " "); i > 1; i--) {
        if (word[i] ~ /^registers/) registers[kernel, target] = word[i - 1]
        if (word[i] ~ /^smem/) static_shared[kernel, target] = word[i - 2]
    }
    next
}
/^ptxas/ { next }
$1 == "symbol" { symbol[$2] = $3; next }

# ---- Launches: an optimizer's end a step; the second step counts
{
    optimizing = $3 ~ /^(optimizer|adafactor)\.cu:/
    if (was_optimizing && !optimizing)
        step++
    was_optimizing = optimizing
    if (step != 1)
        next
}
$1 == "kernel" { count(($2 in symbol ? symbol[$2] : $3) SUBSEP $5 SUBSEP $6, $7 + $8, $9, "fp32", $10) }
$1 == "library" { count($2 (type_of($3) ? " " $3 : "") SUBSEP 0 SUBSEP 0, $7 + $8, $9, $3, 0) }

# A launch takes as long as its bytes or its operations do, whichever is longer; `cores`: those in tensor cores, of bf16.
function count(key, bytes, flop, type, cores,   g, working) {
    launches[key]++
    bytes_of[key] += bytes
    flop_of[key] += flop + cores
    for (g = 1; g <= gpus; g++) {
        working = cores / rate[gpu[g], "bf16"] + (type_of(type) ? flop / rate[gpu[g], type] : 0)
        least[key, gpu[g]] += longer(bytes / bandwidth[gpu[g]], working)
    }
}
function type_of(type) { return ("A100", type) in rate } # copies have none
function longer(a, b) { return a > b ? a : b }
function up(a, unit) { return int((a + unit - 1) / unit) * unit }
function smaller(a, b) { return a < b ? a : b }

# Of 64 warps, how many a multiprocessor holds: registers come in 256 a warp and warps by four, a block takes 1 KB of shared memory
# besides its own.
function occupancy(kernel, target, threads, dynamic,   warps, blocks, used) {
    warps = up(threads, 32) / 32
    used = up(registers[kernel, target] * 32, 256)
    blocks = smaller(32, int(64 / warps))
    if (used)
        blocks = smaller(blocks, int(int(int(65536 / used) / 4) * 4 / warps))
    blocks = smaller(blocks, int(shared_of[target] / (up(static_shared[kernel, target] + dynamic, 128) + 1024)))
    return 100 * blocks * warps / 64
}

END {
    printf "1\t0\t%7s %5s %9s %9s %6s %11s %9s %9s %17s %15s  %s\n", "launches", "block", "registers", "shared", "spills", "occupancy %", "MB", "MFLOP", "least us a launch", "least ms a step", "kernel"
    printf "2\t0\t%7s %5s %9s %9s %6s %11s %9s %9s %17s %15s\n", "a step", "", "80/90", "bytes", "", "80/90", "a launch", "a launch", "A100/H100", "A100/H100"
    for (key in launches) {
        split(key, part, SUBSEP)
        name = part[1]; n = launches[key]
        figures = sprintf("%9s %9s %6s %11s", "", "", "", "")
        if (name in known)
            figures = sprintf("%9s %9d %6d %11s", registers[name, "sm_80"] "/" registers[name, "sm_90"],
                              static_shared[name, "sm_80"] + part[3], spilled[name, "sm_80"] + spilled[name, "sm_90"],
                              sprintf("%.0f/%.0f", occupancy(name, "sm_80", part[2], part[3]), occupancy(name, "sm_90", part[2], part[3])))
        a = least[key, "A100"] * 1e3; h = least[key, "H100"] * 1e3
        total_a += a; total_h += h; total_n += n; total_bytes += bytes_of[key]; total_flop += flop_of[key]
        printf "3\t%.9f\t%7d %5s %s %9.3f %9.1f %17s %15s \t%s\n", a, n, part[2] ? part[2] : "", figures, bytes_of[key] / n / 1e6, flop_of[key] / n / 1e6,
               sprintf("%.1f/%.1f", a / n * 1e3, h / n * 1e3), sprintf("%.3f/%.3f", a, h), name
    }
    printf "4\t0\t%7d launches, %.1f GB, %.1f TFLOP in products: at the least %.1f ms on an A100, %.1f ms on an H100\n", total_n, total_bytes / 1e9, total_flop / 1e12, total_a, total_h
    for (name in known) {
        kernels++
        spills = spilled[name, "sm_80"] + spilled[name, "sm_90"]
        spilling += spills > 0
        if (spills > 0 || all)
            printf "6\t%d\t%9s registers %6d bytes shared %5d bytes spilled  \t%s\n", spills, registers[name, "sm_80"] "/" registers[name, "sm_90"], static_shared[name, "sm_80"], spills, name
    }
    printf "5\t0\t%7d kernels are compiled for sm_80 and sm_90; %d of them spill registers\n", kernels, spilling
}
