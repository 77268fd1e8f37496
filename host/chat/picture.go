package chat

import (
	"fmt"
	"net/http"

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
