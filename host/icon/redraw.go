package icon

import (
	"bytes"
	"errors"
	"fmt"
	"image"
	"image/draw"
	"image/jpeg"
	"image/png"
	"io"
)

// Bounds are how large a picture may be, and becomes.
type Bounds struct {
	Bytes int  // before it is decoded
	From  int  // pixels in either direction, before they are decoded
	To    int  // the same, of what is drawn; one that fits keeps its size
	Photo bool // a JPEG becomes a JPEG, and so does a PNG that would be drawn larger than 3 MiB
}

// maxDrawn is what services take of an image, in bytes, with room for its encoding as text.
const maxDrawn = 3 << 20

// maxPixels bounds what is decoded at all.
const maxPixels = 16 << 20

// maxScans bounds the passes of a JPEG, each of which touches every pixel; usual ones have at most ten.
const maxScans = 16

// kinds are the formats that are taken, by how a file of each begins.
var kinds = []struct {
	name, begins string
	size         func(io.Reader) (image.Config, error)
	decode       func(io.Reader) (image.Image, error)
}{
	{"image/png", "\x89PNG\r\n\x1a\n", png.DecodeConfig, png.Decode},
	{"image/jpeg", "\xff\xd8\xff", jpeg.DecodeConfig, jpeg.Decode},
}

// Redraw draws a PNG or JPEG anew: smaller if it has to be, and without all that a file holds besides its pixels, such as where a photograph was taken. Its
// size is looked at before its pixels are. Errors say why there is no picture, in words that do not quote it.
func Redraw(data []byte, said string, b Bounds) (out []byte, kind string, err error) {
	defer func() {
		if recover() != nil {
			out, kind, err = nil, "", errors.New("it cannot be decoded")
		}
	}()
	if len(data) > b.Bytes {
		return nil, "", fmt.Errorf("it has more than %d KiB", b.Bytes>>10)
	}
	for _, k := range kinds {
		if !bytes.HasPrefix(data, []byte(k.begins)) {
			continue
		}
		if plain(said) != k.name {
			return nil, "", errors.New("it is of another kind than it is said to be")
		}
		if k.name == "image/jpeg" && bytes.Count(data, []byte("\xff\xda")) > maxScans {
			return nil, "", errors.New("it is drawn in too many passes")
		}
		size, err := k.size(bytes.NewReader(data))
		if err != nil {
			return nil, "", errors.New("it cannot be decoded")
		}
		if size.Width < 1 || size.Height < 1 || size.Width > b.From || size.Height > b.From || size.Width*size.Height > maxPixels {
			return nil, "", fmt.Errorf("it is %d by %d pixels, at most %d by %d are drawn", size.Width, size.Height, b.From, b.From)
		}
		whole, err := k.decode(bytes.NewReader(data))
		if err != nil {
			return nil, "", errors.New("it cannot be decoded")
		}
		var to bytes.Buffer
		small := scaled(whole, b.To)
		if k.name == "image/png" || !b.Photo {
			k.name, err = "image/png", png.Encode(&to, small)
		}
		if b.Photo && (k.name == "image/jpeg" || to.Len() > maxDrawn) {
			to.Reset()
			k.name, err = "image/jpeg", jpeg.Encode(&to, small, &jpeg.Options{Quality: 85})
		}
		if err != nil {
			return nil, "", err
		}
		return to.Bytes(), k.name, nil
	}
	return nil, "", errors.New("it is neither PNG nor JPEG")
}

// scaled draws a picture so that it fits: each pixel is the mean of those that it stands for.
func scaled(of image.Image, side int) image.Image {
	b := of.Bounds()
	w, h := b.Dx(), b.Dy()
	from := image.NewRGBA(image.Rect(0, 0, w, h))
	draw.Draw(from, from.Bounds(), of, b.Min, draw.Src)
	longest := max(w, h, side)
	tw, th := max(1, w*side/longest), max(1, h*side/longest)
	if tw == w && th == h {
		return from
	}
	to := image.NewRGBA(image.Rect(0, 0, tw, th))
	for y := range th {
		top, bottom := y*h/th, max((y+1)*h/th, y*h/th+1)
		for x := range tw {
			left, right := x*w/tw, max((x+1)*w/tw, x*w/tw+1)
			var sum [4]uint64
			for sy := top; sy < bottom; sy++ {
				for i := from.PixOffset(left, sy); i < from.PixOffset(right, sy); i += 4 {
					for c := range sum {
						sum[c] += uint64(from.Pix[i+c])
					}
				}
			}
			n := uint64((bottom - top) * (right - left))
			for c := range sum {
				to.Pix[to.PixOffset(x, y)+c] = uint8(sum[c] / n)
			}
		}
	}
	return to
}
