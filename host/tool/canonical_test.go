package tool

import (
	"bytes"
	"strings"
	"testing"
)

func TestCanonicalAccepts(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"keys are sorted":               {`{"b":1,"a":2}`, `{"a":2,"b":1}`},
		"white space goes":              {" { \"a\" : [ 1 , 2 ] }\n", `{"a":[1,2]}`},
		"escapes are resolved":          {`{"a":"\u0041\/"}`, `{"a":"A/"}`},
		"numbers take one form":         {`[1.0,1e2,-0,0.10]`, `[1,100,0,0.1]`},
		"largest exact integer":         {`9007199254740991`, `9007199254740991`},
		"round big number":              {`1e300`, `1e+300`},
		"seventeen digits of a tenth":   {`0.10000000000000001`, `0.1`},
		"surrogate pair":                {`"\ud83d\ude00"`, `"😀"`},
		"keys sort by UTF-16":           {`{"\ufb33":1,"😀":2}`, `{"😀":2,"` + "\ufb33" + `":1}`},
		"keys that differ only in case": {`{"name":1,"Name":2}`, `{"Name":2,"name":1}`},
		"look-alike keys stay two keys": {`{"path":1,"p` + "\u0430" + `th":2}`, `{"path":1,"p` + "\u0430" + `th":2}`},
		"zero with a wild exponent":     {`0e9999999999999999999`, `0`},
		"depth at the limit":            {strings.Repeat("[", 64) + strings.Repeat("]", 64), strings.Repeat("[", 64) + strings.Repeat("]", 64)},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Canonical([]byte(c.in), DefaultLimits())
			if err != nil || string(got) != c.want {
				t.Errorf("got %s, %v; want %s", got, err, c.want)
			}
		})
	}
}

func TestCanonicalRefuses(t *testing.T) {
	for name, c := range map[string]struct{ in, want string }{
		"nothing":                        {``, "ends too early"},
		"half an object":                 {`{"a":1`, "ends too early"},
		"duplicate key":                  {`{"a":1,"a":2}`, "byte 7: duplicate key"},
		"duplicate key behind an escape": {`{"a":1,"\u0061":2}`, "duplicate key"},
		"duplicate key, nested":          {`{"x":[{"a":1,"a":2}]}`, "duplicate key"},
		"two values":                     {`{} {}`, "more than one value"},
		"trailing bracket":               {`{}}`, "more than one value"},
		"bad UTF-8":                      {"{\"a\":\"\xff\"}", "byte 6: not valid UTF-8"},
		"surrogate in raw bytes":         {"\"\xed\xa0\x80\"", "not valid UTF-8"},
		"lone surrogate":                 {`"\ud800"`, "not valid JSON"},
		"low surrogate first":            {`"\udc00\ud800"`, "not valid JSON"},
		"NaN":                            {`NaN`, "not valid JSON"},
		"Infinity":                       {`[-Infinity]`, "not valid JSON"},
		"overflow":                       {`[1e400]`, "byte 1: this number"},
		"underflow":                      {`1e-400`, "this number"},
		"identifier of 19 digits":        {`{"id":1234567890123456789}`, "byte 6: this number"},
		"the same with a fraction":       {`1234567890123456789.0`, "this number"},
		"the same with an exponent":      {`1234567890123456789e0`, "this number"},
		"2^53 plus one":                  {`9007199254740993`, "this number"},
		"too deep":                       {strings.Repeat("[", 65) + strings.Repeat("]", 65), "deeper than 64"},
		"too many values":                {"[" + strings.Repeat("1,", 100_000) + "1]", "more than 100000 values"},
		"too long":                       {`"` + strings.Repeat("a", 1<<20) + `"`, "at most 1048576"},
		"leading zero":                   {`01`, "more than one value"},
		"comment":                        {`{/**/}`, "not valid JSON"},
		"byte order mark":                {"\ufeff{}", "not valid JSON"},
		"control character in a string":  {"\"\x01\"", "not valid JSON"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := Canonical([]byte(c.in), DefaultLimits())
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("got %.40s, %v; want an error with %q", got, err, c.want)
			}
		})
	}
}

func TestCanonicalErrorsHoldNoContent(t *testing.T) {
	for _, in := range []string{`{"hunter2":1,"hunter2":2}`, `{"a":hunter2}`, `["hunter2" 1]`, `{"hunter2":"\ud800"}`, `"hunter2`} {
		_, err := Canonical([]byte(in), DefaultLimits())
		if err == nil || strings.Contains(err.Error(), "hunter2") {
			t.Errorf("%s: got error %v; want one without the content", in, err)
		}
	}
}

func TestCanonicalZeroLimitsRefuse(t *testing.T) {
	if got, err := Canonical([]byte(`1`), Limits{}); err == nil {
		t.Errorf("got %s; want an error", got)
	}
}

func TestCanonicalDoesNotTouchItsInput(t *testing.T) {
	in := []byte(`{"b":1, "a":"\u0041"}`)
	was := bytes.Clone(in)
	if _, err := Canonical(in, DefaultLimits()); err != nil || !bytes.Equal(in, was) {
		t.Errorf("got %s, %v; want %s unchanged", in, err, was)
	}
}

func TestCanonicalObject(t *testing.T) {
	for in, ok := range map[string]bool{`{}`: true, ` {"a":1}`: true, `[]`: false, `null`: false, `"{}"`: false} {
		if _, err := CanonicalObject([]byte(in), DefaultLimits()); (err == nil) != ok {
			t.Errorf("%s: got error %v; want accepted = %v", in, err, ok)
		}
	}
}

func FuzzCanonical(f *testing.F) {
	for _, s := range []string{`{"b":1,"a":[true,null,"\u00e9",1e21]}`, `{"a":1,"a":2}`, `"\ud800"`, `1e400`, `[[[[`, "\xff", `-0.0`, `1234567890123456789`} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, raw []byte) {
		once, err := Canonical(raw, DefaultLimits())
		if err != nil {
			return
		}
		twice, err := Canonical(once, Limits{Bytes: 8 << 20, Depth: 64, Values: 100_000})
		if err != nil || !bytes.Equal(once, twice) {
			t.Errorf("canonical form is not stable: %q, then %q, %v", once, twice, err)
		}
	})
}

func BenchmarkCanonical10K(b *testing.B) {
	raw := []byte(`{"items":[` + strings.Repeat(`{"name":"x","value":12.5,"on":true},`, 280) + `{}]}`)
	b.SetBytes(int64(len(raw)))
	for b.Loop() {
		if _, err := Canonical(raw, DefaultLimits()); err != nil {
			b.Fatal(err)
		}
	}
}
