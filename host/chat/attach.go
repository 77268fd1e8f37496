package chat

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net/http"
	"unicode/utf16"
	"unicode/utf8"

	"cordon/host/icon"
)

// pictureBounds bounds images that models look at.
var pictureBounds = icon.Bounds{Bytes: maxImage, From: 1 << 13, To: maxSide, Photo: true}

// NewPicture makes an attachment of a PNG or JPEG, of at most 16 MiB and 8,192 pixels in either direction. It is drawn anew, no larger than models look at and with
// nothing but its pixels: where a photograph was taken goes nowhere. from is as in Attachment.
func NewPicture(name, from string, data []byte) (Attachment, error) {
	drawn, kind, err := icon.Redraw(data, http.DetectContentType(data), pictureBounds)
	if err != nil {
		return Attachment{}, fmt.Errorf("the image %q cannot be used: %w", name, err)
	}
	return Attachment{Name: name, From: from, MIME: kind, Data: drawn, Size: len(drawn)}, nil
}

// NewFile makes an attachment of a file: of an image as NewPicture does, or of text in UTF-8, or in UTF-16 with its mark.
func NewFile(name, from string, data []byte) (Attachment, error) {
	for mark, order := range map[string]binary.ByteOrder{"\xff\xfe": binary.LittleEndian, "\xfe\xff": binary.BigEndian} { // as Windows writes it
		if bytes.HasPrefix(data, []byte(mark)) && len(data)%2 == 0 {
			units := make([]uint16, len(data)/2-1)
			for i := range units {
				units[i] = order.Uint16(data[2*i+2:])
			}
			data = []byte(string(utf16.Decode(units)))
			break
		}
	}
	switch {
	case bytes.HasPrefix(data, []byte("\x89PNG\r\n\x1a\n")) || bytes.HasPrefix(data, []byte("\xff\xd8\xff")):
		return NewPicture(name, from, data)
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return Attachment{}, fmt.Errorf("%q is neither text in UTF-8 or UTF-16 nor a PNG or JPEG image", name)
	}
	return Attachment{Name: name, From: from, Text: string(data), Size: len(data)}, nil
}
