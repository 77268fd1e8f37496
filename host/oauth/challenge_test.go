package oauth

import (
	"fmt"
	"net/http"
	"reflect"
	"strings"
	"testing"
	"unicode/utf8"
)

func TestChallenges(t *testing.T) {
	p := func(pairs ...string) map[string]string {
		m := map[string]string{}
		for i := 0; i < len(pairs); i += 2 {
			m[pairs[i]] = pairs[i+1]
		}
		return m
	}
	for name, c := range map[string]struct {
		fields []string
		want   []challenge // nil: an error
	}{
		"none":                        {nil, []challenge{}},
		"empty":                       {[]string{"", " , ,"}, []challenge{}},
		"a scheme alone":              {[]string{"Negotiate"}, []challenge{{"negotiate", "", p()}}},
		"parameters":                  {[]string{`Bearer realm="a b", scope=x`}, []challenge{{"bearer", "", p("realm", "a b", "scope", "x")}}},
		"spaces around the sign":      {[]string{"Bearer a = \"b\" ,\tc=d"}, []challenge{{"bearer", "", p("a", "b", "c", "d")}}},
		"names in other case":         {[]string{`BEARER Scope="A"`}, []challenge{{"bearer", "", p("scope", "A")}}},
		"two in one field":            {[]string{`Basic realm="x, y", Bearer a=b, c=d`}, []challenge{{"basic", "", p("realm", "x, y")}, {"bearer", "", p("a", "b", "c", "d")}}},
		"two in two fields":           {[]string{"Basic a=b", "Bearer c=d"}, []challenge{{"basic", "", p("a", "b")}, {"bearer", "", p("c", "d")}}},
		"token68":                     {[]string{"Negotiate YWJj==, Bearer a=b"}, []challenge{{"negotiate", "YWJj==", p()}, {"bearer", "", p("a", "b")}}},
		"a scheme alone, then one":    {[]string{"Negotiate, Bearer a=b"}, []challenge{{"negotiate", "", p()}, {"bearer", "", p("a", "b")}}},
		"quoted pairs":                {[]string{`Bearer a="x\"y\\z"`}, []challenge{{"bearer", "", p("a", `x"y\z`)}}},
		"a scheme inside of text":     {[]string{`Bearer a="Basic b=c, DPoP d=e"`}, []challenge{{"bearer", "", p("a", "Basic b=c, DPoP d=e")}}},
		"empty text":                  {[]string{`Bearer a=""`}, []challenge{{"bearer", "", p("a", "")}}},
		"commas too many":             {[]string{`,, Bearer a=b,, ,c=d,`}, []challenge{{"bearer", "", p("a", "b", "c", "d")}}},
		"text without end":            {[]string{`Bearer a="b`}, nil},
		"text that ends in an escape": {[]string{`Bearer a="b\`}, nil},
		"a control character":         {[]string{"Bearer a=\"b\x01\""}, nil},
		"an escaped control":          {[]string{"Bearer a=\"b\\\x00\""}, nil},
		"no UTF-8":                    {[]string{"Bearer a=\"\xff\""}, nil},
		"the same name twice":         {[]string{`Bearer scope=a, Scope=b`}, nil},
		"a parameter of nothing":      {[]string{`a=b, Bearer`}, nil},
		"a parameter after token68":   {[]string{`Negotiate abc=, d=e`}, nil},
		"no value":                    {[]string{`Bearer a=, b=c, d`}, nil},
		"no comma":                    {[]string{`Bearer a=b c=d`}, nil},
		"text as a scheme":            {[]string{`"Bearer" a=b`}, nil},
		"junk":                        {[]string{`Bearer a=b; c=d`}, nil},
		"too long":                    {[]string{`Bearer a="` + strings.Repeat("x", maxChallenge) + `"`}, nil},
		"too many":                    {[]string{strings.Repeat("Bearer,", maxChallenges+1)}, nil},
		"too many parameters":         {[]string{"Bearer " + manyParams()}, nil},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := challenges(c.fields)
			if c.want == nil {
				if err == nil {
					t.Fatalf("challenges = %v, want an error", got)
				}
				return
			}
			if err != nil || len(got) != len(c.want) || len(got) > 0 && !reflect.DeepEqual(got, c.want) {
				t.Errorf("challenges = %v, %v; want %v", got, err, c.want)
			}
		})
	}
}

func manyParams() string {
	var all []string
	for i := range maxParams + 1 {
		all = append(all, fmt.Sprintf("p%d=x", i))
	}
	return strings.Join(all, ", ")
}

func TestDemanded(t *testing.T) {
	for name, c := range map[string]struct {
		fields []string
		want   demand
		err    bool
	}{
		"nothing of ours": {[]string{`Basic realm="x"`}, demand{}, false},
		"all of it": {[]string{`Bearer resource_metadata="https://a/b", scope="r w r", error="insufficient_scope", error_description="more"`},
			demand{"https://a/b", []string{"r", "w"}, "insufficient_scope", "more"}, false},
		"the one with metadata":     {[]string{`Bearer realm="x"`, `DPoP resource_metadata="https://a/", error="use_dpop_nonce"`}, demand{"https://a/", nil, "use_dpop_nonce", ""}, false},
		"text that cannot be seen":  {[]string{"Bearer error_description=\"a\u202eb\u200bc\""}, demand{text: "a·b·c"}, false},
		"text with the token in it": {[]string{`Bearer error_description="your s3cret-token is bad"`}, demand{text: "your [secret] is bad"}, false},
		"long text":                 {[]string{`Bearer error_description="` + strings.Repeat("é", 300) + `"`}, demand{text: strings.Repeat("é", maxText) + "…"}, false},
		"a scope that is none":      {[]string{`Bearer scope="a b\"c"`}, demand{}, true},
		"too many scopes":           {[]string{`Bearer scope="` + strings.Repeat("a ", maxScopes+1) + `"`}, demand{}, true},
		"a code that is none":       {[]string{`Bearer error="<b>"`}, demand{}, true},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := demanded(http.Header{"Www-Authenticate": c.fields}, "s3cret-token")
			if (err != nil) != c.err || !reflect.DeepEqual(got, c.want) {
				t.Errorf("demanded = %+v, %v; want %+v, error %t", got, err, c.want, c.err)
			}
		})
	}
}

func FuzzChallenge(f *testing.F) {
	for _, s := range []string{`Bearer realm="a, b", scope=x, Basic YWJj==`, `DPoP error="use_dpop_nonce", resource_metadata="https://a/"`, `a=b, Bearer c="d\"e"`, "Bearer a = b ,, c"} {
		f.Add(s, "token")
	}
	f.Fuzz(func(t *testing.T, s, token string) {
		all, err := challenges([]string{s})
		if err != nil && all != nil || len(all) > maxChallenges {
			t.Errorf("challenges = %v, %v", all, err)
		}
		for _, c := range all {
			if c.scheme == "" || c.token68 != "" && len(c.params) > 0 {
				t.Errorf("challenge %+v", c)
			}
		}
		d, _ := demanded(http.Header{"Www-Authenticate": {s}}, token)
		if len(token) >= 4 && !strings.Contains("[secret]", token) && !strings.Contains(d.text, "·") && strings.Contains(d.text, token) && !strings.Contains(token, "[") && !strings.Contains(token, "]") {
			t.Errorf("the text %q holds the token", d.text)
		}
		if !utf8.ValidString(d.text) || utf8.RuneCountInString(d.text) > maxText+1 || strings.ContainsFunc(d.text, func(r rune) bool { return !seen(r) }) {
			t.Errorf("the text is %q", d.text)
		}
		for _, scope := range d.scopes {
			if !visible(scope, maxScope) {
				t.Errorf("scope %q", scope)
			}
		}
	})
}
