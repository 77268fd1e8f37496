package chat

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"codeberg.org/go-pdf/fpdf"
)

// Conversations as PDF: what Markdown says, on pages, with the marking on each.

// ErrNoFont means that there is nothing to draw letters with.
var ErrNoFont = errors.New("a PDF needs a font, and none that can be used is installed: install DejaVu (fonts-dejavu-core), or export Markdown")

// fonts are families in the order in which they are wanted: regular, bold, fixed width. They have Latin, Greek and Cyrillic letters.
var fonts = [...][3]string{
	{"DejaVuSans.ttf", "DejaVuSans-Bold.ttf", "DejaVuSansMono.ttf"},
	{"NotoSans-Regular.ttf", "NotoSans-Bold.ttf", "NotoSansMono-Regular.ttf"},
	{"LiberationSans-Regular.ttf", "LiberationSans-Bold.ttf", "LiberationMono-Regular.ttf"},
	{"FreeSans.ttf", "FreeSansBold.ttf", "FreeMono.ttf"},
	{"Ubuntu-R.ttf", "Ubuntu-B.ttf", "UbuntuMono-R.ttf"},
}

// fontPlaces are where systems keep fonts. A person's own are not used: they would be the only file of a home that an export reads.
var fontPlaces = [...]string{"/usr/share/fonts", "/usr/local/share/fonts"}

const (
	maxFont     = 32 << 20 // bytes
	maxLooked   = 50_000   // files
	quotedInPDF = 16 << 10 // bytes of a result
)

// findFonts reads the first family that is there as a whole.
func findFonts(places ...string) (all [3][]byte, err error) {
	at := map[string]string{}
	looked := 0
	for _, place := range places {
		_ = filepath.WalkDir(place, func(path string, d fs.DirEntry, err error) error {
			if looked++; looked > maxLooked {
				return filepath.SkipAll
			}
			if err == nil && d.Type().IsRegular() && strings.HasSuffix(path, ".ttf") && at[d.Name()] == "" {
				at[d.Name()] = path
			}
			return nil
		})
	}
next:
	for _, family := range fonts {
		for i, name := range family {
			path := at[name]
			st, err := os.Stat(path)
			if path == "" || err != nil || st.Size() > maxFont {
				continue next
			}
			if all[i], err = os.ReadFile(path); err != nil {
				continue next
			}
		}
		return all, nil
	}
	return all, ErrNoFont
}

// page layout, in millimetres and points.
const (
	margin  = 18.0
	width   = 210 - 2*margin
	body    = 10.0
	small   = 8.5
	leading = 5.0
)

var (
	linked  = regexp.MustCompile(`\[#(\d{1,6})\]\(#result-\d{1,6}\)`)
	plainMD = strings.NewReplacer(`\\`, `\`, "\\`", "`", `\*`, "*", `\_`, "_", `\{`, "{", `\}`, "}", `\[`, "[", `\]`, "]", `\<`, "<", `\>`, ">", `\#`, "#", `\|`, "|", `\!`, "!", `\~`, "~", `\(`, "(", "&lt;", "<", "&#33;", "!", "&#40;", "(", "&#58;", ":", "&#91;", "[", "&amp;", "&", "**", "", "`", "")
)

// unquoted puts back what inert has written out.
var unquoted = strings.NewReplacer("&lt;", "<", "&#33;", "!", "&#40;", "(", "&#58;", ":", "&#91;", "[", "&amp;", "&")

// PDF is the conversation on A4 pages. Letters that the computer's font lacks are empty boxes; those outside Unicode's first plane are written out. Errors:
// ErrNoFont.
func (x Exported) PDF() (out []byte, err error) {
	defer func() { // the library panics on fonts that are broken
		if p := recover(); p != nil {
			out, err = nil, fmt.Errorf("the PDF could not be made: %v", p)
		}
	}()
	files, err := findFonts(fontPlaces[:]...)
	if err != nil {
		return nil, err
	}
	p := fpdf.New("P", "mm", "A4", "")
	for i, style := range []struct{ family, style string }{{"text", ""}, {"text", "B"}, {"code", ""}} {
		p.AddUTF8FontFromBytes(style.family, style.style, files[i])
	}
	p.SetMargins(margin, margin, margin)
	p.SetAutoPageBreak(true, margin+6)
	p.SetTitle(drawable(x.Title), true)
	p.SetCreator("Cordon "+x.Cordon, true)
	p.SetCreationDate(x.Exported)
	p.SetModificationDate(x.Exported)
	marking := ""
	if x.Case != nil && x.Case.Marking != "" {
		marking = "TLP:" + strings.ToUpper(string(x.Case.Marking))
	}
	p.AliasNbPages("{pages}")
	p.SetFooterFunc(func() {
		p.SetY(-margin)
		p.SetFont("text", "", 8)
		p.SetTextColor(90, 90, 90)
		p.CellFormat(width/2, 5, marking, "", 0, "L", false, 0, "")
		p.CellFormat(width/2, 5, fmt.Sprintf("%d of {pages}", p.PageNo()), "", 0, "R", false, 0, "")
	})
	p.AddPage()
	x.quoted = quotedInPDF
	d := &drawing{p: p, results: map[string]int{}}
	for line := range strings.Lines(x.Markdown()) {
		d.line(strings.TrimSuffix(line, "\n"))
	}
	var b bytes.Buffer
	if err := p.Output(&b); err != nil {
		return nil, fmt.Errorf("the PDF could not be made: %w", err)
	}
	return b.Bytes(), nil
}

// drawing puts lines of Markdown on pages.
type drawing struct {
	p       *fpdf.Fpdf
	fence   string
	results map[string]int // links to results, by number
}

func (d *drawing) line(s string) {
	p := d.p
	p.SetTextColor(20, 20, 20)
	switch bare := strings.TrimLeft(s, " "); {
	case d.fence != "" && bare == d.fence:
		d.fence = ""
		p.Ln(2)
	case d.fence != "":
		p.SetFont("code", "", small)
		p.SetFillColor(243, 242, 238)
		p.MultiCell(width, 4.2, drawable(strings.ReplaceAll(s, "\t", "    ")), "", "L", true)
	case strings.HasPrefix(bare, "```") || strings.HasPrefix(bare, "~~~"):
		d.fence = bare[:len(bare)-len(strings.TrimLeft(bare, bare[:1]))]
		p.Ln(1)
	case strings.TrimSpace(s) == "":
		p.Ln(2.5)
	case strings.HasPrefix(s, "### Result "):
		p.Ln(2)
		d.text(strings.TrimPrefix(s, "### "), "B", 11)
		p.SetLink(d.to(strings.TrimPrefix(s, "### Result ")), p.GetY()-leading, p.PageNo())
	case strings.HasPrefix(s, "# "):
		d.text(s[2:], "B", 16)
	case strings.HasPrefix(s, "#"):
		p.Ln(2)
		d.text(strings.TrimLeft(s, "# "), "B", 12)
	case strings.HasPrefix(s, ">"):
		d.quoted(strings.TrimPrefix(strings.TrimPrefix(s, ">"), " "))
	case strings.HasPrefix(bare, "- "), strings.HasPrefix(bare, "* "):
		d.indented("• "+bare[2:], 2+float64(len(s)-len(bare)))
	default:
		d.indented(s, 0)
	}
}

// quoted draws a line of what a person or a model said, beside its line. Fences in it are drawn as they are: nothing after it can be taken into them.
func (d *drawing) quoted(s string) {
	p := d.p
	top, at := p.GetY(), p.PageNo()
	switch bare := strings.TrimLeft(s, " "); {
	case strings.TrimSpace(s) == "":
		p.Ln(2.5)
	case strings.HasPrefix(bare, "|"), strings.HasPrefix(s, "    "), strings.HasPrefix(bare, "```"):
		p.SetFont("code", "", small)
		p.SetX(margin + 4)
		p.MultiCell(width-4, 4.2, drawable(unquoted.Replace(s)), "", "L", false)
	case strings.HasPrefix(bare, "**") && strings.HasSuffix(bare, "**"):
		p.SetFont("text", "B", body)
		p.SetX(margin + 4)
		p.MultiCell(width-4, leading, drawable(plainMD.Replace(bare)), "", "L", false)
	case strings.HasPrefix(bare, "- "), strings.HasPrefix(bare, "* "):
		d.indented("• "+bare[2:], 6+float64(len(s)-len(bare)))
	default:
		d.indented(s, 4)
	}
	if p.PageNo() > at {
		top = margin
	}
	p.SetDrawColor(190, 188, 180)
	p.Line(margin+1, top, margin+1, p.GetY())
}

// to is the link to a result.
func (d *drawing) to(number string) int {
	if d.results[number] == 0 {
		d.results[number] = d.p.AddLink()
	}
	return d.results[number]
}

func (d *drawing) text(s, style string, size float64) {
	d.p.SetFont("text", style, size)
	d.p.MultiCell(width, size*0.5, drawable(plainMD.Replace(s)), "", "L", false)
}

// indented writes a paragraph whose citations are links.
func (d *drawing) indented(s string, by float64) {
	p := d.p
	p.SetFont("text", "", body)
	p.SetLeftMargin(margin + by)
	p.SetX(margin + by)
	for {
		at := linked.FindStringSubmatchIndex(s)
		if at == nil {
			break
		}
		p.Write(leading, drawable(plainMD.Replace(s[:at[0]])))
		number := s[at[2]:at[3]]
		p.SetTextColor(140, 30, 110)
		p.WriteLinkID(leading, "[#"+number+"]", d.to(number))
		p.SetTextColor(20, 20, 20)
		s = s[at[1]:]
	}
	p.Write(leading, drawable(plainMD.Replace(s)))
	p.SetLeftMargin(margin)
	p.Ln(leading)
}

// drawable writes out what the library cannot draw.
func drawable(s string) string {
	var b strings.Builder
	for _, r := range s {
		if r > 0xffff {
			fmt.Fprintf(&b, "‹U+%X›", r)
		} else {
			b.WriteRune(r)
		}
	}
	return b.String()
}
