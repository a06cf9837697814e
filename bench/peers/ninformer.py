"""NiNformer in plain PyTorch, from its equations (models/ninformer/ninformer.h): CIFAR-10's sizes, dropout left out."""
import torch
from torch import nn


class FeedForward(nn.Module):
    def __init__(self, width, hidden):
        super().__init__()
        self.net = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Identity(), nn.Linear(hidden, width))

    def forward(self, x):
        return self.net(x)


class Transpose(nn.Module):
    def forward(self, x):
        return x.transpose(1, 2)


class Mixer(nn.Module):
    def __init__(self, width, hidden, tokens):
        super().__init__()
        self.token_mix = nn.Sequential(nn.LayerNorm(width), Transpose(), FeedForward(tokens, hidden), Transpose())
        self.channel_mix = nn.Sequential(nn.LayerNorm(width), FeedForward(width, hidden))

    def forward(self, z):
        a = z + self.token_mix(z)
        return a + self.channel_mix(a)


class Gate(nn.Module):
    def __init__(self, width, hidden, tokens):
        super().__init__()
        self.Mixer = Mixer(width, hidden, tokens)
        self.proj = nn.Linear(width, width)

    def forward(self, z):
        return self.proj(z) * self.Mixer(z)


class Block(nn.Module):
    def __init__(self, width, hidden, tokens):
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.mgu = Gate(width, hidden, tokens)
        self.ffn = FeedForward(width, hidden)

    def forward(self, x):
        x = x + self.mgu(self.norm(x))
        return x + self.ffn(self.norm(x))


class NiNformer(nn.Module):
    def __init__(self, width=256, hidden=512, tokens=64, layers=4, patch=4, classes=10):
        super().__init__()
        self.patcher = nn.Conv2d(3, width, patch, patch)
        self.model = nn.Sequential(*[Block(width, hidden, tokens) for _ in range(layers)])
        self.classifier = nn.Linear(width, classes)

    def forward(self, image):
        x = self.patcher(image).flatten(2).transpose(1, 2)
        return self.classifier(self.model(x).mean(dim=1))
