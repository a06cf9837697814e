"""PyTorch's side: the protocol of bench/side/side.h. Reads FOLDER/inputs.safetensors, writes FOLDER/peer.safetensors."""
import contextlib
import sys

import torch
from line_protocol import serve
from safetensors.torch import load_file, save_file

COMPILED = "--compile" in sys.argv[1:]


def compiled(function):
    return torch.compile(function) if COMPILED else function


def is_bf16(words):
    return words.get("precision") == "bf16"


def autocast(words):
    return torch.autocast("cpu", torch.bfloat16) if is_bf16(words) else contextlib.nullcontext()


class Classifier:
    """A network with our weights. Training: forward, loss, backward and a step of the optimizer (the fused one, its fastest);
    bf16: as PyTorch means it, by autocast."""

    def __init__(self, inputs, words):
        self.model = self.build(words)
        self.our_names = {self.their_name(name[6:]): name[6:] for name in inputs if name.startswith("param/")}
        self.model.load_state_dict({name: inputs[f"param/{ours}"] for name, ours in self.our_names.items()})
        self.x, self.labels = inputs["x"], inputs["labels"]
        self.training = words["mode"] == "train"
        self.words = words
        self.model.train(self.training)
        self.forward = compiled(self.model)
        self.optimizer = self.build_optimizer()

    @staticmethod
    def their_name(name):
        return name

    def forward_backward(self):
        self.optimizer.zero_grad(set_to_none=True)
        with autocast(self.words):
            loss = torch.nn.functional.cross_entropy(self.forward(self.x), self.labels)
        loss.backward()
        return loss

    def logits(self):
        with torch.inference_mode(), autocast(self.words):
            return self.forward(self.x)

    def operation(self):
        if self.training:
            self.forward_backward()
            self.optimizer.step()
        else:
            self.logits()

    def check(self):
        if not self.training:
            return {"logits": self.logits()}
        loss = self.forward_backward()
        return {"loss": loss.detach()} | {f"grad/{self.our_names[name]}": p.grad
                                          for name, p in self.model.named_parameters()}


class CrossVit(Classifier):
    """timm's model, AdamW."""

    MODELS = {"tiny": "crossvit_tiny_240", "small": "crossvit_small_240", "base": "crossvit_base_240"}

    def build(self, words):
        import timm
        return timm.create_model(self.MODELS[words["config"]])

    def build_optimizer(self):
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        rest = [p for p in self.model.parameters() if p.ndim < 2]
        return torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0}], lr=1e-5,
                                 fused=True)

    @staticmethod
    def their_name(name):
        """pos_embed.0 -> pos_embed_0, cls_token.0 -> cls_token_0"""
        return name.replace(".", "_") if name.startswith(("pos_embed.", "cls_token.")) else name


class NiNformer(Classifier):
    """A plain writing of the authors' network, Adam."""

    def build(self, words):
        import ninformer
        return ninformer.NiNformer()

    def build_optimizer(self):
        return torch.optim.Adam(self.model.parameters(), lr=1e-5, fused=True)


class Routing:
    """lucidrains' package, Adam. The means move in a hook of its own on the backward pass."""

    SIZES = {"lucidrains_enwik8": {"dim": 512, "depth": 6, "max_seq_len": 4096, "heads": 8, "dim_head": 64, "window_size": 128,
                                   "n_local_attn_heads": (8, 8, 8, 4, 4, 4)}}

    def __init__(self, inputs, words):
        from routing_transformer import AutoregressiveWrapper, RoutingTransformerLM
        model = RoutingTransformerLM(num_tokens=256, causal=True, **self.SIZES[words["config"]])
        model.load_state_dict({name[6:]: x for name, x in inputs.items() if name.startswith("param/")})
        self.model, self.tokens = model.train(), inputs["tokens"]
        self.loss = compiled(AutoregressiveWrapper(model))
        self.optimizer = torch.optim.Adam(model.parameters(), lr=1e-4, fused=True)

    def forward_backward(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = self.loss(self.tokens, return_loss=True)
        loss.backward()
        return loss

    def operation(self):
        self.forward_backward()
        self.optimizer.step()

    def check(self):
        loss = self.forward_backward()
        return {"loss": loss.detach().reshape(())} | {f"grad/{name}": p.grad if p.numel() else p.detach()
                                          for name, p in self.model.named_parameters()}


class Attention:
    """Tensors lie as torch likes them, [B,H,N,d]; the results are turned to ours, [B,N,H,d]."""

    def __init__(self, inputs, words):
        self.causal, self.backward = words["causal"] == "yes", words["backward"] == "yes"
        self.q, self.k, self.v, self.d_o = (inputs[name].transpose(1, 2).contiguous() for name in ["q", "k", "v", "d_o"])
        self.d_o = self.d_o.to(self.q.dtype)  # fp32 in the file
        for x in [self.q, self.k, self.v] if self.backward else []:
            x.requires_grad_()

    def operation(self):
        for x in [self.q, self.k, self.v]:
            x.grad = None
        o = torch.nn.functional.scaled_dot_product_attention(self.q, self.k, self.v, is_causal=self.causal)
        if self.backward:
            o.backward(self.d_o)
        return o

    def check(self):
        results = {"o": self.operation().detach()}
        if self.backward:
            results |= {"grad/q": self.q.grad, "grad/k": self.k.grad, "grad/v": self.v.grad}
        return {name: x.transpose(1, 2) for name, x in results.items()}


class Linear:
    """bf16: the weights, too, are bf16 before the clock runs."""

    def __init__(self, inputs, words):
        x, dy = inputs["x"], inputs["dy"]
        w, bias = inputs["w"].to(x.dtype), inputs["bias"].to(x.dtype)
        self.operation = {"forward": lambda: torch.nn.functional.linear(x, w, bias),
                          "input": lambda: dy @ w,
                          "weight": lambda: dy.t() @ x}[words["direction"]]

    def check(self):
        return {"result": self.operation()}


class Elementwise:
    """Forward without gradients, or forward and backward."""

    def __init__(self, inputs, words):
        self.inputs = inputs
        self.backward = words["backward"] == "yes"
        self.size = {name: int(words[name]) for name in ["out_side", "stride", "pad"] if name in words}
        self.forward = getattr(self, words["op"])
        self.wanted = {name: inputs[name].requires_grad_() for name in ["x", "weight", "bias"]
                       if name in inputs and self.backward and not (name == "x" and self.is_image(words))}
        if words["op"] == "adamw":
            self.parameter = torch.nn.Parameter(inputs["parameter"])
            self.parameter.grad = inputs["gradient"]
            self.optimizer = torch.optim.AdamW([self.parameter], lr=1e-3, weight_decay=0.05, fused=True)

    @staticmethod
    def is_image(words):
        return words["op"] == "convolution" and int(words["channels"]) <= 3

    def layer_norm(self, x, weight, bias, **_):
        return torch.nn.functional.layer_norm(x, weight.shape, weight, bias, 1e-6)

    def batch_norm(self, x, weight, bias, **_):
        return torch.nn.functional.batch_norm(x, None, None, weight, bias, True, eps=1e-5)

    def gelu(self, x, **_):
        return torch.nn.functional.gelu(x)

    def cross_entropy(self, x, targets, **_):
        return torch.nn.functional.cross_entropy(x, targets, reduction="none")

    def adamw(self, **_):
        self.optimizer.step()

    def bicubic(self, x, **_):
        return torch.nn.functional.interpolate(x, size=[self.size["out_side"]] * 2, mode="bicubic")

    def convolution(self, x, weight, bias, **_):
        return torch.nn.functional.conv2d(x, weight, bias, self.size["stride"], self.size["pad"]).permute(0, 2, 3, 1)

    def operation(self):
        for x in self.wanted.values():
            x.grad = None
        with contextlib.nullcontext() if self.backward else torch.no_grad():
            y = self.forward(**self.inputs)
        if self.backward:
            y.backward(self.inputs["dy"])
        return y

    def check(self):
        y = self.operation()
        if y is None:
            return {"parameter": self.parameter.detach()}
        return {"y": y.detach()} | {f"grad/{name}": x.grad for name, x in self.wanted.items()}


CASES = {"crossvit": CrossVit, "ninformer": NiNformer, "routing": Routing, "attention": Attention,
         "linear": Linear, "elementwise": Elementwise}


def prepare(folder, words):
    torch.set_num_threads(int(words["threads"]))
    return CASES[sys.argv[1]](load_file(f"{folder}/inputs.safetensors"), words)


def write(path, results):
    save_file({name: x.contiguous().clone() for name, x in results.items()}, path)


if __name__ == "__main__":
    serve(prepare, write)
