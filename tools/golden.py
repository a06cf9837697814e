"""Writes a golden file (shared by tools/new-model.d and docs/add-a-paper.md): what a PyTorch module computes, for
./eval MODEL --golden FILE. The module is the authors' own where there is one. Needs torch and safetensors; no other part
of the project needs Python.

    from golden import write_golden
    write_golden("models/linformer/golden/attention.safetensors", model="linformer", entry="attention",
                 config={"embed_dim": 8}, source="repository, commit, file, class", module=their_module,
                 inputs={"x": torch.randn(2, 12, 8)}, forward=lambda m, x: {"y": m(x)})
"""

import json

import torch
from safetensors.torch import save_file


def write_golden(path, model, entry, config, source, module, inputs, forward, training=False):
    """Differentiates sum(output * cotangent) over all float outputs of forward(module, **inputs), a dict of tensors.
    Gradients that are zero but for rounding (a key's bias before a softmax) are left out, and listed."""
    module.train(training)
    leaves = {n: x.clone().requires_grad_(x.is_floating_point()) for n, x in inputs.items()}
    before = {f"param/{n}": x.clone() for n, x in module.state_dict().items()}
    outputs = forward(module, **leaves)
    cotangents = {n: torch.randn_like(y) for n, y in outputs.items() if y.requires_grad}
    sum((outputs[n] * c).sum() for n, c in cotangents.items()).backward()
    grads = {n: p.grad for n, p in module.named_parameters() if p.grad is not None}
    largest = max((g.abs().max() for g in grads.values()), default=0)
    zero = {f"grad/{n}": f"{g.abs().max():.0e}" for n, g in grads.items() if g.abs().max() <= 1e-6 * largest}
    tensors = {
        **before,
        **{f"input/{n}": x for n, x in inputs.items()},
        **{f"output/{n}": y for n, y in outputs.items()},
        **{f"cotangent/{n}": c for n, c in cotangents.items()},
        **{f"grad/{n}": g for n, g in grads.items() if f"grad/{n}" not in zero},
        **{f"grad_input/{n}": x.grad for n, x in leaves.items() if x.grad is not None},
    }
    metadata = {"model": model, "entry": entry, "config": json.dumps(config), "source": source}
    metadata |= {"mode": "train" if training else "eval", "zero_gradients": json.dumps(zero)}
    save_file({n: x.detach().contiguous() for n, x in tensors.items()}, path, metadata)
