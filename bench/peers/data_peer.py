"""torchvision's images to batches: PIL, timm's training transform, a DataLoader with so many workers. The protocol of
bench/side/side.h. Reads folder=FOLDER, train/CLASS/FILE; a turn is an epoch."""
from line_protocol import serve
from safetensors.torch import save_file
from timm.data import create_transform
from torch.utils.data import DataLoader, Subset
from torchvision import transforms
from torchvision.datasets import ImageFolder

SIZE = 240
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class Reading:
    def __init__(self, _, words):
        self.folder, self.batch = f"{words['folder']}/train", int(words["batch"])
        transform = create_transform(SIZE, is_training=True, hflip=0.5, auto_augment="rand-m9-mstd0.5-inc1",
                                     interpolation="bicubic", mean=MEAN, std=DEVIATION, re_prob=0.25, re_mode="pixel")
        self.loader = DataLoader(ImageFolder(self.folder, transform), self.batch, shuffle=True,
                                 num_workers=int(words["threads"]), persistent_workers=True)  # forking them is not measured

    def operation(self):
        for _ in self.loader:
            pass

    def check(self):
        """The first batch as evaluation gets it."""
        transform = transforms.Compose([
            transforms.Resize(int(SIZE / 0.875), transforms.InterpolationMode.BICUBIC), transforms.CenterCrop(SIZE),
            transforms.ToTensor(), transforms.Normalize(MEAN, DEVIATION)])
        images = Subset(ImageFolder(self.folder, transform), range(self.batch))
        return {"images": next(iter(DataLoader(images, self.batch)))[0]}


if __name__ == "__main__":
    serve(Reading, lambda path, results: save_file(results, path))
