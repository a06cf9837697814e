"""openvino_convert.py FOLDER key=value ...: timm's CrossViT with our weights as OpenVINO's model, FOLDER/model.xml. A process of
its own, so that the peer's memory holds no PyTorch."""
import sys

import openvino
from safetensors.torch import load_file
from torch_peer import CrossVit


def main():
    folder, words = sys.argv[1], dict(word.split("=") for word in sys.argv[2:])
    case = CrossVit(load_file(f"{folder}/inputs.safetensors"), words)
    model = openvino.convert_model(case.model, example_input=case.x, input=list(case.x.shape))
    openvino.save_model(model, f"{folder}/model.xml", compress_to_fp16=False)


if __name__ == "__main__":
    main()
