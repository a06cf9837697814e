"""Writes golden/forward.safetensors of images/ and text/, the golden files that a new model begins with: equations 1-4 of
their skeleton.h in plain PyTorch, written from the equations and not from skeleton.c.

    python3 tools/new-model.d/reference.py
"""

import pathlib
import sys

import torch
from torch import nn
from torch.nn import functional as F

here = pathlib.Path(__file__).parent
sys.path.insert(0, str(here.parent))
from golden import write_golden  # noqa: E402

# As wide as a name may be: tools/new-model writes the name over it and keeps the header's length.
NAME = "@name@".ljust(32, "_")


class Block(nn.Module):
    def __init__(self, width, heads, hidden, eps, causal):
        super().__init__()
        self.heads, self.causal = heads, causal
        self.norm1, self.norm2 = nn.LayerNorm(width, eps=eps), nn.LayerNorm(width, eps=eps)
        self.attention = nn.ModuleDict({n: nn.Linear(width, width, bias=n == "out") for n in ("q", "k", "v", "out")})
        self.mlp = nn.ModuleDict({"fc1": nn.Linear(width, hidden), "fc2": nn.Linear(hidden, width)})

    def forward(self, x):
        u, a, (batch, n, width) = self.norm1(x), self.attention, x.shape
        q, k, v = (a[m](u).view(batch, n, self.heads, -1).transpose(1, 2) for m in "qkv")
        scores = q @ k.transpose(2, 3) / (width // self.heads) ** 0.5
        if self.causal:
            scores = scores.masked_fill(torch.ones(n, n).triu(1).bool(), float("-inf"))
        p = torch.softmax(scores, dim=-1)
        x = x + a["out"]((p @ v).transpose(1, 2).reshape(batch, n, width))
        return x + self.mlp["fc2"](F.gelu(self.mlp["fc1"](self.norm2(x))))


class Classifier(nn.Module):
    def __init__(self, img_size, patch_size, in_chans, num_classes, embed_dim, depth, num_heads, mlp_ratio):
        super().__init__()
        self.patch = patch_size
        self.embed = nn.Linear(in_chans * patch_size**2, embed_dim)
        self.positions = nn.Parameter(torch.randn(1, (img_size // patch_size) ** 2, embed_dim))
        hidden = int(embed_dim * mlp_ratio)
        self.blocks = nn.ModuleList(Block(embed_dim, num_heads, hidden, 1e-6, causal=False) for _ in range(depth))
        self.norm = nn.LayerNorm(embed_dim, eps=1e-6)
        self.head = nn.Linear(embed_dim, num_classes)

    def forward(self, image):
        patches = F.unfold(image, self.patch, stride=self.patch).transpose(1, 2)
        x = self.embed(patches) + self.positions
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x).mean(dim=1))


class LanguageModel(nn.Module):
    def __init__(self, n_vocab, n_ctx, n_embd, n_layer, n_head, mlp_ratio):
        super().__init__()
        self.tokens = nn.Parameter(torch.randn(n_vocab, n_embd))
        self.positions = nn.Parameter(torch.randn(1, n_ctx, n_embd))
        hidden = int(n_embd * mlp_ratio)
        self.blocks = nn.ModuleList(Block(n_embd, n_head, hidden, 1e-5, causal=True) for _ in range(n_layer))
        self.norm = nn.LayerNorm(n_embd, eps=1e-5)
        self.head = nn.Linear(n_embd, n_vocab, bias=False)

    def forward(self, ids):
        x = self.tokens[ids] + self.positions[:, : ids.shape[1]]
        for block in self.blocks:
            x = block(x)
        return self.head(self.norm(x))


def write(folder, kind, config, inputs):
    torch.manual_seed(0)
    module = kind(**config)
    with torch.no_grad():  # norms that do something
        for name, x in module.named_parameters():
            if "norm" in name:
                x += 0.3 * torch.randn_like(x)
    write_golden(here / folder / "golden/forward.safetensors", NAME, "forward", config,
                 "tools/new-model.d/reference.py: plain PyTorch, written from the equations in the head of the model",
                 module, inputs(), lambda m, **x: {"logits": m(*x.values())})


write("images", Classifier,
      dict(img_size=12, patch_size=4, in_chans=2, num_classes=5, embed_dim=12, depth=2, num_heads=3, mlp_ratio=2),
      lambda: {"x": torch.randn(2, 2, 12, 12)})
write("text", LanguageModel, dict(n_vocab=11, n_ctx=9, n_embd=12, n_layer=2, n_head=3, mlp_ratio=2),
      lambda: {"ids": torch.randint(11, (2, 7))})
