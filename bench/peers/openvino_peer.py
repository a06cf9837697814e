"""OpenVINO's side of inference: the protocol of bench/side/side.h. One request at a time on all threads; bf16 by its hint."""
import pathlib
import subprocess
import sys

from line_protocol import serve


class Network:
    def __init__(self, folder, words):
        import openvino
        from safetensors import safe_open
        converter = pathlib.Path(__file__).with_name("openvino_convert.py")
        done = subprocess.run([sys.executable, converter, folder, *(f"{key}={value}" for key, value in words.items())],
                              capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"openvino_convert.py: {done.stderr.strip().splitlines()[-1]}")
        core = openvino.Core()
        compiled = core.compile_model(core.read_model(f"{folder}/model.xml"), "CPU", {
            "INFERENCE_PRECISION_HINT": "bf16" if words["precision"] == "bf16" else "f32",
            "INFERENCE_NUM_THREADS": words["threads"], "NUM_STREAMS": "1"})
        with safe_open(f"{folder}/inputs.safetensors", "numpy") as inputs:
            self.x = inputs.get_tensor("x")
        self.request = compiled.create_infer_request()
        self.request.set_input_tensor(openvino.Tensor(self.x, shared_memory=True))

    def operation(self):
        self.request.infer()

    def check(self):
        self.operation()
        return {"logits": self.request.get_output_tensor().data}


def write(path, results):
    from safetensors.numpy import save_file
    save_file(results, path)


if __name__ == "__main__":
    serve(Network, write)
