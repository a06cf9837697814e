"""NiNformer with the authors' sizes for CIFAR-10 beside a plain writing in PyTorch: a training step at the authors' batch."""
from driver.contest import rate_alone

NAME = "ninformer-train-step"
WORDS = {"mode": "train", "config": "cifar10", "batch": 128, "precision": "fp32"}

BENCHES = {NAME: ("a training step of NiNformer, batch 128, without dropout; peer PyTorch",
                  lambda options: rate_alone("ninformer", NAME, WORDS, options))}
