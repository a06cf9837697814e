"""PyTorch's side: the protocol of bench/side/side.h. Reads FOLDER/inputs.safetensors, writes FOLDER/peer.safetensors."""
import sys
import time

import torch
from safetensors.torch import load_file, save_file

COMPILED = "--compile" in sys.argv[1:]


def compiled(function):
    return torch.compile(function) if COMPILED else function


class CrossVit:
    """timm's model with our weights. Training: forward, loss, backward and AdamW (the fused one, its fastest)."""

    MODELS = {"tiny": "crossvit_tiny_240", "small": "crossvit_small_240", "base": "crossvit_base_240"}

    def __init__(self, inputs, words):
        import timm
        self.model = timm.create_model(self.MODELS[words["config"]])
        self.our_names = {self.timm_name(name[6:]): name[6:] for name in inputs if name.startswith("param/")}
        self.model.load_state_dict({name: inputs[f"param/{ours}"] for name, ours in self.our_names.items()})
        self.x, self.labels = inputs["x"], inputs["labels"]
        self.training = words["mode"] == "train"
        self.model.train(self.training)
        self.forward = compiled(self.model)
        matrices = [p for p in self.model.parameters() if p.ndim >= 2]
        rest = [p for p in self.model.parameters() if p.ndim < 2]
        self.optimizer = torch.optim.AdamW([{"params": matrices, "weight_decay": 0.05}, {"params": rest, "weight_decay": 0}],
                                           lr=1e-5, fused=True)

    @staticmethod
    def timm_name(name):
        """pos_embed.0 -> pos_embed_0, cls_token.0 -> cls_token_0"""
        return name.replace(".", "_") if name.startswith(("pos_embed.", "cls_token.")) else name

    def forward_backward(self):
        self.optimizer.zero_grad(set_to_none=True)
        loss = torch.nn.functional.cross_entropy(self.forward(self.x), self.labels)
        loss.backward()
        return loss

    def operation(self):
        if self.training:
            self.forward_backward()
            self.optimizer.step()
        else:
            with torch.inference_mode():
                self.forward(self.x)

    def check(self):
        if not self.training:
            with torch.inference_mode():
                return {"logits": self.forward(self.x)}
        loss = self.forward_backward()
        return {"loss": loss.detach()} | {f"grad/{self.our_names[name]}": p.grad
                                          for name, p in self.model.named_parameters()}


class Attention:
    """Tensors lie as torch likes them, [B,H,N,d]; the results are turned to ours, [B,N,H,d]."""

    def __init__(self, inputs, words):
        self.causal, self.backward = words["causal"] == "yes", words["backward"] == "yes"
        self.q, self.k, self.v, self.d_o = (inputs[name].transpose(1, 2).contiguous() for name in ["q", "k", "v", "d_o"])
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
    def __init__(self, inputs, words):
        x, w, bias, dy = (inputs[name] for name in ["x", "w", "bias", "dy"])
        self.operation = {"forward": lambda: torch.nn.functional.linear(x, w, bias),
                          "input": lambda: dy @ w,
                          "weight": lambda: dy.t() @ x}[words["direction"]]

    def check(self):
        return {"result": self.operation()}


CASES = {"crossvit": CrossVit, "attention": Attention, "linear": Linear}


def peak_resident():
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) * 1024 for line in status if line.startswith("VmHWM"))


def turn(case, seconds):
    """Seconds of one operation, and how many were made."""
    begun, count = time.perf_counter(), 0
    while count == 0 or time.perf_counter() - begun < seconds:
        case.operation()
        count += 1
    return (time.perf_counter() - begun) / count, count


class Peer:
    def __init__(self):
        self.case = self.folder = None

    def obey(self, command, *words):
        if command == "prepare":
            self.folder = words[0]
            named = dict(word.split("=") for word in words[1:])
            torch.set_num_threads(int(named["threads"]))
            self.case = None
            self.case = CASES[named.get("case", "crossvit")](load_file(f"{self.folder}/inputs.safetensors"), named)
            return "ready"
        if command == "check":
            results = {name: x.contiguous().clone() for name, x in self.case.check().items()}
            save_file(results, f"{self.folder}/peer.safetensors")
            return "done"
        if command == "turn":
            return "turn %.9g %d" % turn(self.case, float(words[0]))
        if command == "memory":
            return f"memory {peak_resident()} 0"
        return f"error unknown command {command}"


def main():
    peer = Peer()
    for line in sys.stdin:
        try:
            answer = peer.obey(*line.split())
        except Exception as problem:  # whatever a peer dies of is one line for the driver
            answer = f"error {type(problem).__name__}: {' '.join(str(problem).split())}"
        print(answer, flush=True)


if __name__ == "__main__":
    main()
