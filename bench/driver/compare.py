"""Both sides must compute the same before their times are compared."""
from driver.side import SideError


class Differs(SideError):
    pass


TOLERANCES = {"fp32": 1e-3, "bf16": 3e-2}


def tensors_of(path):
    """Name -> numpy array, bf16 as float32."""
    from safetensors.torch import load_file
    return {name: x.float().numpy() for name, x in load_file(path).items()}


def compare(folder, peer, precision="fp32"):
    """Every tensor of ours.safetensors against the peer's. fp32: |ours - peer| <= tolerance * the peer's largest. bf16: the
    same of Euclidean norms, because single elements are no measure there (of gradients that are small sums of large terms,
    PyTorch's own bf16 differs from its fp32 by 6 % of the largest). A gradient that is nothing but rounding (the bias of
    keys, which no softmax sees) is held against a thousandth of the largest gradient. Returns the largest difference, as a
    share of what is allowed."""
    import numpy
    mine, theirs = tensors_of(folder / "ours.safetensors"), tensors_of(folder / "peer.safetensors")
    if mine.keys() != theirs.keys():
        raise SideError(f"{peer} computed other tensors: {sorted(mine.keys() ^ theirs.keys())[:4]}")
    size = numpy.linalg.norm if precision == "bf16" else lambda x: numpy.abs(x).max()
    sizes = {name: float(size(x.astype("float64").ravel())) if x.size else 0.0 for name, x in theirs.items()}
    floor = 1e-3 * max((v for name, v in sizes.items() if name.startswith("grad/")), default=0.0)
    worst = 0.0
    for name, x in theirs.items():
        if mine[name].shape != x.shape:
            raise SideError(f"{name} is {mine[name].shape} here and {x.shape} in {peer}")
        if not x.size:
            continue
        difference = float(size((mine[name].astype("float64") - x).ravel()))
        allowed = TOLERANCES[precision] * max(sizes[name], floor if name.startswith("grad/") else 0.0)
        if not difference <= allowed:
            raise Differs(f"no result: {name} differs from {peer} by {difference:.3g}, allowed is {allowed:.3g}")
        worst = max(worst, difference / allowed if allowed else 0.0)
    return worst


def make_ready(mine, peers, folder, words):
    """Prepares one case on all sides and holds each peer's results against ours."""
    mine.prepare(folder, words)
    mine.check()
    for peer in peers:
        peer.prepare(folder, words)
        peer.check()
        compare(folder, peer.name, words.get("precision", "fp32"))
