#!/usr/bin/env python3
"""Writes tests/data/fixtures with Pillow 9.5 (numpy needed). The fixtures are committed; nothing runs this but a person who
wants to see where they come from. ycck.jpg and 411.jpg were written with TurboJPEG, whose encoder Pillow does not reach:
tjCompress2 of 19 x 23 pixels, TJPF_CMYK with TJSAMP_420 and TJPF_RGB with TJSAMP_411."""

import io, os, struct, zlib
import numpy as np
from PIL import Image, ImageOps, ImageEnhance
O = os.path.join(os.path.dirname(os.path.abspath(__file__)), "fixtures", "")
rng=np.random.default_rng(5)
h,w=23,19
y,x=np.mgrid[0:h,0:w]
a=np.stack([(x*11+y*3)%256,(y*9)%256,(x*y)%256],-1)*.7+rng.integers(0,77,(h,w,3)); a=a.astype(np.uint8)
im=Image.fromarray(a)
def save(n,i,f,**k): i.save(O+n,f,**k)
save("rgb420.jpg",im,"JPEG",quality=80)
save("rgb444.jpg",im,"JPEG",quality=95,subsampling=0)
save("progressive.jpg",im,"JPEG",quality=70,progressive=True,subsampling=1)
save("gray.jpg",im.convert("L"),"JPEG")
save("cmyk.jpg",im.convert("CMYK"),"JPEG",quality=90)
save("rgb.png",im,"PNG"); save("gray.png",im.convert("L"),"PNG"); save("bilevel.png",im.convert("1"),"PNG")
save("palette4.png",im.quantize(16),"PNG",bits=4,transparency=3)
r=np.concatenate([a,rng.integers(0,256,(h,w,1),dtype=np.uint8)],-1); save("rgba.png",Image.fromarray(r),"PNG")
save("gray_alpha.png",Image.fromarray(r).convert("LA"),"PNG")
names=["rgb420.jpg","rgb444.jpg","progressive.jpg","gray.jpg","cmyk.jpg","ycck.jpg","411.jpg","rgb.png","gray.png","bilevel.png","palette4.png","rgba.png","gray_alpha.png"]
with open(O+"decoded.rgb","wb") as f:
    for n in names: f.write(np.asarray(Image.open(O+n).convert("RGB")).tobytes())
# interlaced 16-bit RGB png is written by hand (Pillow writes neither)
def chunk(t,d): return struct.pack(">I",len(d))+t+d+struct.pack(">I",zlib.crc32(t+d))
wide=(a.astype(np.uint32)*257).astype(">u2")
passes=[(0,0,8,8),(4,0,8,8),(0,4,4,8),(2,0,4,4),(0,2,2,4),(1,0,2,2),(0,1,1,2)]
raw=b""
for x0,y0,dx,dy in passes:
    p=wide[y0::dy,x0::dx]
    if p.size:
        for row in p: raw+=b"\0"+row.tobytes()
open(O+"interlaced16.png","wb").write(b"\x89PNG\r\n\x1a\n"+chunk(b"IHDR",struct.pack(">IIBBBBB",w,h,16,2,0,0,1))+chunk(b"IDAT",zlib.compress(raw))+chunk(b"IEND",b""))
assert (np.asarray(Image.open(O+"interlaced16.png").convert("RGB"))==a).all() or print("pil differs")
# operations
F=(124,116,104); K=dict(resample=Image.BICUBIC,fillcolor=F)
B=Image.BICUBIC; G=im.convert("L")
outs=[]
for size in ((9,11),(40,31),(19,40),(7,23),(5,50)): outs.append(im.resize(size,B)); 
for size in ((9,11),(40,31)): outs.append(G.resize(size,B))
outs.append(im.crop((3,2,3+13,2+17)).resize((24,24),B))
ops=[ImageOps.autocontrast(im),ImageOps.equalize(im),ImageOps.invert(im),im.rotate(-17.3,**K),im.rotate(30,**K),ImageOps.posterize(im,2),ImageOps.posterize(im,0),ImageOps.solarize(im,77),
 im.point([min(255,i+99) if i<128 else i for i in range(256)]*3),
 ImageEnhance.Color(im).enhance(1.77),ImageEnhance.Color(im).enhance(.3),ImageEnhance.Contrast(im).enhance(1.8),ImageEnhance.Contrast(im).enhance(.2),
 ImageEnhance.Brightness(im).enhance(1.6),ImageEnhance.Brightness(im).enhance(.4),ImageEnhance.Sharpness(im).enhance(1.85),ImageEnhance.Sharpness(im).enhance(.1),
 im.transform(im.size,Image.AFFINE,(1,.27,0,0,1,0),**K),im.transform(im.size,Image.AFFINE,(1,0,0,-.27,1,0),**K),
 im.transform(im.size,Image.AFFINE,(1,0,.41*w,0,1,0),**K),im.transform(im.size,Image.AFFINE,(1,0,0,0,1,-.387*h),**K)]
open(O+"source.rgb","wb").write(a.tobytes())
open(O+"resized.rgb","wb").write(b"".join(i.tobytes() for i in outs))
open(O+"augmented.rgb","wb").write(b"".join(i.tobytes() for i in ops))

# A sampling that TurboJPEG 2 has no name for: the factors of a 4:2:0 file rewritten to 2x2, 2x1, 1x2.
y, x = np.mgrid[0:16, 0:16]
i16 = Image.fromarray(np.stack([x * 8 + y, y * 9, x * 3 + y * 2], -1).astype(np.uint8))
buffer = io.BytesIO()
i16.save(buffer, "JPEG", quality=50, subsampling=2)
rare = bytearray(buffer.getvalue())
at = rare.index(b"\xff\xc0")
rare[at + 14], rare[at + 17] = 0x21, 0x12
open(O + "rare_sampling.jpg", "wb").write(rare)
open(O + "rare_sampling.rgb", "wb").write(Image.open(io.BytesIO(rare)).convert("RGB").tobytes())

# PNGs whose modes Pillow treats each in its own way. Pillow writes the first itself; the others are written by hand.
def png(name, depth, colour, rows, *extra, interlaced=False):
    header = struct.pack(">IIBBBBB", w, h, depth, colour, 0, 0, int(interlaced))
    body = zlib.compress(b"".join(b"\0" + row for row in rows))
    start = b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header)
    open(O + name, "wb").write(start + b"".join(extra) + chunk(b"IDAT", body) + chunk(b"IEND", b""))
rng = np.random.default_rng(6)
deep = (rng.integers(0, 65536, (h, w)) >> rng.integers(0, 16, (h, w))).astype(np.uint16)
Image.fromarray(deep).save(O + "gray16.png")
deep = deep.astype(">u2")
png("gray16_interlaced.png", 16, 0, [r.tobytes() for x0, y0, dx, dy in passes for r in deep[y0::dy, x0::dx]], interlaced=True)
png("gray16_key.png", 16, 0, [r.tobytes() for r in deep], chunk(b"tRNS", deep[0, 0].tobytes()))
random_rows = lambda bits: [bytes(r) for r in rng.integers(0, 256, (h, (w * bits + 7) // 8), dtype=np.uint8)]
png("gray_alpha16.png", 16, 4, random_rows(32))
png("rgba16.png", 16, 6, random_rows(64))
png("gray2.png", 2, 0, random_rows(2), chunk(b"tRNS", b"\0\2"))
png("gray4.png", 4, 0, random_rows(4))
colours = rng.integers(0, 256, 3 * 200, dtype=np.uint8).tobytes()
png("palette8_alpha.png", 8, 3, random_rows(8), chunk(b"PLTE", colours), chunk(b"tRNS", colours[:9]))
png("palette2_short.png", 2, 3, random_rows(2), chunk(b"PLTE", colours[:6]))
modes = ["gray16", "gray16_interlaced", "gray16_key", "gray_alpha16", "rgba16", "gray2", "gray4", "palette8_alpha", "palette2_short"]
with open(O + "png_modes.rgb", "wb") as f:
    for n in modes: f.write(Image.open(O + n + ".png").convert("RGB").tobytes())
