"""CrossViT-Ti at 240 beside timm's crossvit_tiny_240 (PyTorch; OpenVINO for inference)."""
from driver.cases import Cases
from driver.contest import contest, rate_alone

BATCH = 32


def run_rate(name, mode, precision, options):
    return rate_alone("crossvit", name, {"mode": mode, "config": "tiny", "batch": BATCH, "precision": precision}, options)


def run_latency(options):
    cases = Cases(options)
    for precision in ["fp32", "bf16"]:
        name = f"crossvit-ti-latency-{precision}"
        if not cases.wanted(name):
            continue
        words = {"mode": "infer", "config": "tiny", "batch": 1, "precision": precision, "threads": options.threads}
        with cases.case(name):
            r, _, _ = contest("crossvit", name, words, options)
            cases.add(name=name, ours=1e3 * r.ours, peer=1e3 * r.peer, ratio=r.ratio, spread=r.spread, unit="ms")
    return cases.close()


def bench(name, mode, precision, what):
    return name, (what, lambda options: run_rate(name, mode, precision, options))


BENCHES = dict([
    bench("crossvit-ti-train-fp32", "train", "fp32", "a training step of CrossViT-Ti, batch 32; peer PyTorch"),
    bench("crossvit-ti-train-bf16", "train", "bf16", "the same in bf16; peer PyTorch's autocast"),
    bench("crossvit-ti-infer-fp32", "infer", "fp32", "inference of CrossViT-Ti, batch 32; peer OpenVINO, PyTorch beside"),
    bench("crossvit-ti-infer-bf16", "infer", "bf16", "the same in bf16"),
]) | {"crossvit-ti-latency": ("one image, fp32 and bf16; peer OpenVINO, PyTorch beside", run_latency)}
