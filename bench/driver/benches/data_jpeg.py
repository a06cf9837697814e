"""JPEG files to normalised batches with the full training augmentation, beside torchvision with PIL, both with two workers.

The images are made here, 400 x 300 with the spectrum of photographs (1/f), so that a file costs what one of ImageNet costs."""
from driver.cases import Cases
from driver.compare import make_ready
from driver.environment import WORK
from driver.measure import alternate
from driver.side import ours, peer

WIDTH, HEIGHT, QUALITY = 400, 300, 90
CLASSES, IMAGES = 4, 512
BATCH = 64


def picture(numpy, random):
    """Noise whose amplitude falls as 1 / frequency, its three channels alike but not equal."""
    frequency = numpy.hypot(numpy.fft.fftfreq(HEIGHT)[:, None], numpy.fft.rfftfreq(WIDTH)[None])
    frequency[0, 0] = 1 / WIDTH
    planes = [numpy.fft.irfft2(numpy.fft.rfft2(random.standard_normal((HEIGHT, WIDTH))) / frequency, (HEIGHT, WIDTH))
              for _ in range(4)]
    pixels = numpy.stack([planes[0] + 0.3 * plane for plane in planes[1:]], 2)
    return (128 + 55 * pixels / pixels.std()).clip(0, 255).astype("uint8")


def make_images(folder):
    import numpy
    from PIL import Image
    random = numpy.random.default_rng(0)
    for i in range(IMAGES):
        place = folder / "train" / f"class{i % CLASSES}" / f"{i:04d}.jpg"
        if not place.exists():
            place.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(numpy, random)).save(place, quality=QUALITY)


def run(options):
    cases = Cases(options)
    folder = WORK / "data-jpeg" / "images"
    make_images(folder)
    size = sum(file.stat().st_size for file in folder.rglob("*.jpg")) / IMAGES
    print(f"{IMAGES} JPEGs of {WIDTH} x {HEIGHT}, {size / 1e3:.0f} kB each")
    words = {"folder": folder, "batch": BATCH, "threads": options.threads}
    with cases.case("data-jpeg"), ours("data") as mine, peer("data_peer", "torchvision") as torchvision:
        make_ready(mine, [torchvision], WORK / "data-jpeg", words)
        r = alternate(mine, [torchvision], options)[torchvision.name]
        cases.add(name="data-jpeg", ours=IMAGES / r.ours, peer=IMAGES / r.peer, ratio=r.ratio, spread=r.spread,
                  unit="images/s")
    return cases.close()


BENCHES = {"data-jpeg": ("a folder of JPEGs to augmented batches, 2 workers; peer torchvision, PIL and timm", run)}
