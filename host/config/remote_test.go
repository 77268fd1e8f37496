package config

import (
	"errors"
	"strings"
	"testing"
)

func TestRemoteServers(t *testing.T) {
	paths := Paths{Home: "/home/u", Config: "/home/u/.config/cordon", State: "/home/u/.local/state/cordon", Data: "/home/u/.local/share/cordon", Runtime: "/run/user/1/cordon", Cache: "/home/u/.cache/cordon"}
	good := func(change func(*Server)) Server {
		s := Server{Name: "one", URL: "https://mcp.example.org/mcp", Net: NetNone}
		change(&s)
		return s
	}
	for name, change := range map[string]func(*Server){
		"plain":   func(*Server) {},
		"local":   func(s *Server) { s.URL = "http://localhost:8080/mcp" },
		"address": func(s *Server) { s.URL = "http://[::1]:8080/" },
		"key": func(s *Server) {
			s.Secrets = map[string]string{"Authorization": "key"}
			s.Headers = map[string]string{"X-Team": "soc"}
		},
		"machine": func(s *Server) {
			s.Login = Login{Kind: LoginPrivateKey, ClientID: "c"}
			s.Secrets = map[string]string{LoginSecret: "k"}
		},
		"secret": func(s *Server) {
			s.Login = Login{Kind: LoginClientSecret, ClientID: "c", Issuer: "https://as.example.org"}
			s.Secrets = map[string]string{LoginSecret: "k"}
		},
		"private":   func(s *Server) { s.Private = []string{"mcp.example.org:443"} },
		"old":       func(s *Server) { s.SSE, s.Open = true, true },
		"limited":   func(s *Server) { s.Rate, s.Budget, s.Rates = 10, 100, map[string]int{"read": 0} },
		"odd scope": func(s *Server) { s.Login.Scopes = []string{"a:b/c.d"} },
	} {
		if err := good(change).Validate(paths); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	for name, c := range map[string]struct {
		change func(*Server)
		field  string
	}{
		"http":               {func(s *Server) { s.URL = "http://mcp.example.org/" }, "url"},
		"http that resolves": {func(s *Server) { s.URL = "http://localhost.example.org/" }, "url"},
		"password":           {func(s *Server) { s.URL = "https://u:p@mcp.example.org/" }, "url"},
		"fragment":           {func(s *Server) { s.URL = "https://mcp.example.org/#a" }, "url"},
		"file":               {func(s *Server) { s.URL = "file:///etc/passwd" }, "url"},
		"no host":            {func(s *Server) { s.URL = "https:///mcp" }, "url"},
		"spelling":           {func(s *Server) { s.URL = "HTTPS://mcp.example.org/" }, "url"},
		"port":               {func(s *Server) { s.URL = "https://mcp.example.org:99999/" }, "url"},
		"command too":        {func(s *Server) { s.Command = []string{"x"} }, "command"},
		"folders":            {func(s *Server) { s.Read = []string{"/case"} }, "read"},
		"memory":             {func(s *Server) { s.Memory = 1 << 30 }, "memory"},
		"network":            {func(s *Server) { s.Net = NetLoopback }, "net"},
		"environment":        {func(s *Server) { s.Env = map[string]string{"A": "b"} }, "env"},
		"a header of ours":   {func(s *Server) { s.Headers = map[string]string{"mcp-session-id": "x"} }, "headers.mcp-session-id"},
		"cookie":             {func(s *Server) { s.Secrets = map[string]string{"Cookie": "key"} }, "secrets.Cookie"},
		"host":               {func(s *Server) { s.Headers = map[string]string{"Host": "x"} }, "headers.Host"},
		"no header":          {func(s *Server) { s.Headers = map[string]string{"A: b\r\nC": "x"} }, "headers.A: b\r\nC"},
		"line break":         {func(s *Server) { s.Headers = map[string]string{"A": "b\r\nC: d"} }, "headers.A"},
		"twice": {func(s *Server) {
			s.Headers, s.Secrets = map[string]string{"x-key": "a"}, map[string]string{"X-Key": "key"}
		}, "secrets.X-Key"},
		"kind":           {func(s *Server) { s.Login.Kind = "password" }, "login.kind"},
		"nobody":         {func(s *Server) { s.Login.Kind = LoginPrivateKey }, "login.clientId"},
		"who gets it":    {func(s *Server) { s.Login.ClientID, s.Secrets = "c", map[string]string{LoginSecret: "k"} }, "login.issuer"},
		"issuer by http": {func(s *Server) { s.Login.Issuer = "http://as.example.org" }, "login.issuer"},
		"scope":          {func(s *Server) { s.Login.Scopes = []string{"a b"} }, "login.scopes[0]"},
		"private":        {func(s *Server) { s.Private = []string{"https://x"} }, "privateHosts[0]"},
		"rate":           {func(s *Server) { s.Rate = -1 }, "rate"},
		"rates":          {func(s *Server) { s.Rates = map[string]int{"a\u202e": 1} }, "rates.a\u202e"},
	} {
		var e *Error
		if err := good(c.change).Validate(paths); !errors.As(err, &e) || e.Field != c.field || strings.TrimSpace(e.Problem) == "" {
			t.Errorf("%s: %v, want something about %s", name, err, c.field)
		}
	}
	local := Server{Name: "one", Command: []string{"x"}, Net: NetNone, Memory: DefaultMemory, Pids: DefaultPids, Open: true}
	if local.Validate(paths) == nil {
		t.Error("a server of this computer is open")
	}
}
