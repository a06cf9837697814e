"""Both sides must compute the same before their times are compared."""
from driver.side import SideError

FP32 = 1e-3


def compare(folder, peer, tolerance=FP32):
    """Every tensor of ours.safetensors against the peer's: |ours - peer| <= tolerance * the peer's largest. A gradient that
    is nothing but rounding (the bias of keys, which no softmax sees) is held against a thousandth of the largest gradient.
    Returns the largest difference, as a share of what is allowed."""
    import numpy
    from safetensors.numpy import load_file
    mine, theirs = load_file(folder / "ours.safetensors"), load_file(folder / "peer.safetensors")
    if mine.keys() != theirs.keys():
        raise SideError(f"{peer} computed other tensors: {sorted(mine.keys() ^ theirs.keys())[:4]}")
    largest = {name: float(numpy.abs(x).max()) for name, x in theirs.items()}
    floor = 1e-3 * max((v for name, v in largest.items() if name.startswith("grad/")), default=0.0)
    worst = 0.0
    for name, x in theirs.items():
        if mine[name].shape != x.shape:
            raise SideError(f"{name} is {mine[name].shape} here and {x.shape} in {peer}")
        scale = max(largest[name], floor if name.startswith("grad/") else 0.0)
        difference = float(numpy.abs(mine[name].astype("float64") - x).max())
        allowed = tolerance * scale
        if not difference <= allowed:
            raise SideError(f"no result: {name} differs from {peer} by {difference:.3g}, allowed is {allowed:.3g}")
        worst = max(worst, difference / allowed if allowed else 0.0)
    return worst
