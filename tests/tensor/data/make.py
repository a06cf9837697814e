#!/usr/bin/env python3
"""Writes the files of this folder with the tools that users write theirs with (see README.md). No test runs this."""
import argparse
import io
import pathlib
import pickle
import zipfile

import torch
from safetensors.torch import save_file

here = pathlib.Path(__file__).parent


def values(dtype, *numbers):
    return torch.tensor(numbers, dtype=torch.float64).to(dtype)


def all_types():
    nan, inf = float("nan"), float("inf")
    return {
        "f64": torch.tensor([0.1, -1e-300, inf], dtype=torch.float64),
        "f32": torch.tensor([[0.1, -2.5], [3e38, nan]]),
        "f16": values(torch.float16, 0, 1, -2.5, 65504, 2.0**-24, inf, -inf, nan),
        "bf16": values(torch.bfloat16, 1, -2.5, 3e38, nan),
        "f8_e5m2": torch.tensor([0x3C, 0xBE, 0x7B, 0x01, 0x7C, 0x7F], dtype=torch.uint8).view(torch.float8_e5m2),
        "f8_e4m3": torch.tensor([0x38, 0xBC, 0x7E, 0x01, 0x7F], dtype=torch.uint8).view(torch.float8_e4m3fn),
        "i64": torch.tensor([2**62 + 1, -(2**62)]),
        "i32": torch.tensor([2**31 - 1, -(2**31)], dtype=torch.int32),
        "i16": torch.tensor([32767, -32768], dtype=torch.int16),
        "i8": torch.tensor([127, -128], dtype=torch.int8),
        "u64": torch.tensor([1, 2**40], dtype=torch.uint64),
        "u32": torch.tensor([1, 2**32 - 1], dtype=torch.uint32),
        "u16": torch.tensor([1, 65535], dtype=torch.uint16),
        "u8": torch.tensor([1, 255], dtype=torch.uint8),
        "bool": torch.tensor([True, False, True]),
        "scalar": torch.tensor(7.0),
        "empty": torch.zeros(0, 3),
    }


def views():
    """Tensors that share storages, with offsets, strides and repeated elements."""
    base = torch.arange(24, dtype=torch.float32)
    grid = base.view(4, 6)
    return {
        "transposed": grid.t(),
        "window": grid[1:3, 2:5],
        "every_second": base[1::2],
        "expanded": torch.tensor([1.0, 2.0]).view(2, 1).expand(2, 3),
        "permuted": torch.arange(24, dtype=torch.int64).view(2, 3, 4).permute(2, 0, 1),
    }


def training_checkpoint():
    torch.manual_seed(0)
    model = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(6).view(2, 3))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    model(torch.ones(4, 3)).sum().backward()
    optimizer.step()
    with torch.no_grad():
        model[0].weight.copy_(torch.arange(6).view(2, 3))
    state = model.state_dict()  # an OrderedDict with _metadata
    for name in list(state):
        state["module." + name] = state.pop(name)
    return {
        "model": state,
        "optimizer": optimizer.state_dict(),
        "epoch": 3,
        "max_accuracy": 81.25,
        "args": argparse.Namespace(lr=1e-3, input_size=[224, 224], resume="", distributed=True),
        "history": [None, (1, 2), {3, 4}, b"\x00\xff", 2**100, -5, "\u00e9"],
    }


class Malicious:
    def __reduce__(self):
        import os

        return os.system, ("echo this must not run",)


def zip_with(path, entries, method=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", method) as out:
        for name, data in entries:
            out.writestr(zipfile.ZipInfo(name), data, method)


save_file(all_types(), here / "types.safetensors", metadata={"format": "pt"})
save_file(
    {
        "b.f32": torch.arange(6, dtype=torch.float32).view(2, 3),
        "a.u8": torch.tensor([1, 2, 3], dtype=torch.uint8),
        "c.i64": torch.tensor([-1]),
        "e.i32": torch.tensor([5, 6], dtype=torch.int32),
        "d.bf16": values(torch.bfloat16, 1, 2, 3),
        "\u00e9\"\\": torch.zeros(0, 4),
    },
    here / "written.safetensors",
    metadata={"note": "one \"line\"\n\u00e9"},
)
torch.save(all_types(), here / "types.pth")
torch.save(views(), here / "views.pth")
torch.save(training_checkpoint(), here / "training.pth")
torch.save(training_checkpoint(), here / "training_legacy.pth", _use_new_zipfile_serialization=False)
torch.save({"state_dict": {"model." + k: v for k, v in views().items()}}, here / "protocol4.pth", pickle_protocol=4)

stored = zipfile.ZipFile(here / "training.pth")
zip_with(here / "deflated.pth", [(n, stored.read(n)) for n in stored.namelist()], zipfile.ZIP_DEFLATED)

for protocol in (2, 4):
    data = pickle.dumps({"weight": Malicious()}, protocol)
    zip_with(here / f"malicious{protocol}.pth", [("archive/data.pkl", data), ("archive/version", b"3\n")])
