package chat

import (
	"bytes"
	"fmt"
	"net/http"
	"strings"
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

// NewFile makes an attachment of a file: of an image as NewPicture does, or of text in UTF-8.
func NewFile(name, from string, data []byte) (Attachment, error) {
	switch {
	case strings.HasPrefix(http.DetectContentType(data), "image/"):
		return NewPicture(name, from, data)
	case !utf8.Valid(data) || bytes.IndexByte(data, 0) >= 0:
		return Attachment{}, fmt.Errorf("%q is neither text nor a PNG or JPEG image", name)
	}
	return Attachment{Name: name, From: from, Text: string(data), Size: len(data)}, nil
}
