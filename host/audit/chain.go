package audit

import (
	"bufio"
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"strconv"

	"github.com/go-json-experiment/json/jsontext"
)

// A line of the log, without its newline:
//
//	{"seq":N,"prev":"P","event":{…},"hash":"H"}
//
// N counts from 1. H is the SHA-256, in hex, of every byte of the line before `,"hash"`; P is the H of the line
// before, or 64 zeros in the first. So every byte is either hashed or fixed.
const (
	headSeq   = `{"seq":`
	headPrev  = `,"prev":"`
	headEvent = `","event":`
	tailHash  = `,"hash":"`
	tailEnd   = `"}`
	hexLen    = 2 * sha256.Size
	tailLen   = len(tailHash) + hexLen + len(tailEnd)

	// MaxRecord is the longest line, its newline included.
	MaxRecord = 64 << 10
	// maxEvent leaves room for what surrounds the event, with 20 digits of seq.
	maxEvent = MaxRecord - len(headSeq) - 20 - len(headPrev) - hexLen - len(headEvent) - tailLen - 1
)

var firstPrev = string(bytes.Repeat([]byte{'0'}, hexLen))

// link appends the line for event to buf and returns it with its hash.
func link(buf []byte, seq uint64, prev string, event []byte) (line []byte, hash string) {
	start := len(buf)
	buf = append(buf, headSeq...)
	buf = strconv.AppendUint(buf, seq, 10)
	buf = append(buf, headPrev...)
	buf = append(buf, prev...)
	buf = append(buf, headEvent...)
	buf = append(buf, event...)
	sum := sha256.Sum256(buf[start:])
	hash = hex.EncodeToString(sum[:])
	buf = append(buf, tailHash...)
	buf = append(buf, hash...)
	return append(buf, tailEnd+"\n"...), hash
}

// parsed is a line taken apart. Its own hash has been checked; its place in the chain has not.
type parsed struct {
	seq        uint64
	prev, hash string
	event      []byte // aliases the line
}

// parse checks a line, without its newline, against the only form that link writes.
func parse(line []byte) (parsed, error) {
	bad := func(why string) (parsed, error) { return parsed{}, errors.New(why) }
	n := len(line) - tailLen
	if n < 0 || len(line) >= MaxRecord || !bytes.HasPrefix(line[n:], []byte(tailHash)) || !bytes.HasSuffix(line, []byte(tailEnd)) {
		return bad("the line does not end in a hash")
	}
	body, hash := line[:n], string(line[n+len(tailHash):len(line)-len(tailEnd)])
	sum := sha256.Sum256(body)
	if hex.EncodeToString(sum[:]) != hash {
		return bad("the line was changed: its hash is not that of its bytes")
	}
	rest, ok := bytes.CutPrefix(body, []byte(headSeq))
	i := bytes.Index(rest, []byte(headPrev))
	if !ok || i < 0 || i > 20 {
		return bad("the line does not begin as records do")
	}
	seq, err := strconv.ParseUint(string(rest[:i]), 10, 64)
	if err != nil || strconv.FormatUint(seq, 10) != string(rest[:i]) {
		return bad("the sequence number is not written as a plain number")
	}
	rest = rest[i+len(headPrev):]
	if len(rest) < hexLen || !bytes.HasPrefix(rest[hexLen:], []byte(headEvent)) {
		return bad("the line does not begin as records do")
	}
	event := rest[hexLen+len(headEvent):]
	if len(event) == 0 || event[0] != '{' || !jsontext.Value(event).IsValid() {
		return bad("the event is not a JSON object")
	}
	return parsed{seq, string(rest[:hexLen]), hash, event}, nil
}

// follows reports why p cannot stand after a line with the given number and hash (0 and firstPrev at the start).
func (p parsed) follows(seq uint64, hash string) error {
	switch {
	case p.seq != seq+1:
		return fmt.Errorf("record %d stands where %d belongs", p.seq, seq+1)
	case p.prev != hash:
		return fmt.Errorf("record %d does not continue the one before it", p.seq)
	}
	return nil
}

// Report is what Verify found.
type Report struct {
	Events  uint64 // records that are intact, from the first on
	Head    string // hash of the last of them, hex; "" when there is none. Keep it elsewhere to notice a shortened log.
	Intact  bool   // everything is as it was written
	BadSeq  uint64 // number of the first record that is not, 0 if intact
	BadLine uint64 // its line, from 1, 0 if intact
	Problem string // what is wrong with it
	Torn    bool   // all that is wrong is a last record that was not written whole, as when its writer was killed; Open repairs that
}

// unfinished reports whether line, which has no newline, is the beginning of a record, as a process that was killed while
// writing leaves it, or the zeros that a power cut can leave. Anything else was put there.
func unfinished(line []byte) bool {
	if _, err := parse(line); err == nil {
		return true // all but the newline
	}
	if len(bytes.Trim(line, "\x00")) == 0 {
		return true
	}
	if n := min(len(line), len(headSeq)); string(line[:n]) != headSeq[:n] {
		return false
	}
	_, err := jsontext.NewDecoder(bytes.NewReader(line)).ReadValue()
	return errors.Is(err, io.ErrUnexpectedEOF)
}

// Verify reads a whole log and checks every byte of it. It keeps at most one record in memory. The error is r's;
// what is wrong with the log itself is in the report.
func Verify(r io.Reader) (Report, error) {
	in := bufio.NewReaderSize(r, MaxRecord)
	var rep Report
	hash := firstPrev
	bad := func(torn bool, why string) (Report, error) {
		rep.BadSeq, rep.BadLine, rep.Problem, rep.Torn = rep.Events+1, rep.Events+1, why, torn
		return rep, nil
	}
	for {
		line, err := in.ReadSlice('\n')
		switch {
		case err == io.EOF && len(line) == 0:
			rep.Intact = true
			return rep, nil
		case err == io.EOF:
			return bad(unfinished(line), "the last line is incomplete")
		case errors.Is(err, bufio.ErrBufferFull):
			return bad(false, "the line is longer than any record")
		case err != nil:
			return rep, fmt.Errorf("read log: %w", err)
		}
		p, err := parse(line[:len(line)-1])
		if err == nil {
			err = p.follows(rep.Events, hash)
		}
		if err != nil {
			return bad(false, err.Error())
		}
		rep.Events, rep.Head, hash = p.seq, p.hash, p.hash
	}
}
