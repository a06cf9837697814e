#!/usr/bin/env bash
# Folders of images with files that cannot be read: named, and skipped only where the user asks for it.
. tests/scripts/lib/common.sh

# images FOLDER: 20 + 1 images of two classes
images() {
    mkdir -p "$1"/train/{a,b} "$1"/val/{a,b}
    for i in $(seq 10); do
        cp "$root/tests/data/fixtures/rgb420.jpg" "$1/train/a/$i.jpg"
        cp "$root/tests/data/fixtures/rgb.png" "$1/train/b/$i.png"
    done
    cp "$root/tests/data/fixtures/rgb420.jpg" "$1/val/a/"
    cp "$root/tests/data/fixtures/rgb444.jpg" "$1/val/b/"
}
settings=(data.set=imagefolder data.crop=resized data.hold_out=0 'data.mean=[0.5, 0.5, 0.5]' 'data.deviation=[0.5, 0.5, 0.5]'
    model.in_chans=3 model.num_classes=2 train.batch_size=5 train.epochs=1)

images whole
images short
head -c 300 whole/train/a/1.jpg >short/train/a/3.jpg
head -c 300 whole/train/a/1.jpg >short/val/b/1.jpg

"$crossvit" train "${settings[@]}" data.path=whole name=whole >/dev/null || fail "a run on whole images"
expect 2 'short/train/a/3.jpg: JPEG: ' "$crossvit" train "${settings[@]}" data.path=short name=stopped
expect 2 'short/val/b/1.jpg: JPEG: ' "$crossvit" eval runs/crossvit/whole data.path=short

"$crossvit" train "${settings[@]}" data.path=short data.skip_corrupt=yes name=skipped >skipped.txt || fail "skipping: $(tail -n 2 skipped.txt)"
grep -q 'replaced: short/train/a/3.jpg: JPEG: ' skipped.txt || fail "what was replaced is not named"
grep -q 'left out: 1 image that cannot be read, the first: short/val/b/1.jpg' skipped.txt || fail "what was left out is not named"
grep -q '(2 images' skipped.txt || fail "one broken image took others with it"
[ -s runs/crossvit/skipped/report.html ] || fail "no report"
rm -r short/val/b/rgb444.jpg short/val/a/* && cp short/val/b/1.jpg short/val/a/2.jpg
expect 2 'no test image could be read' "$crossvit" eval runs/crossvit/skipped data.path=short
finish
