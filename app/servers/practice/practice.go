// Package practice is a small MCP server for the first start: it writes one file in one folder. It runs sandboxed
// like any other server.
package practice

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/modelcontextprotocol/go-sdk/mcp"
)

type writeArgs struct {
	Path    string `json:"path" jsonschema:"file to write, in the practice folder"`
	Content string `json:"content" jsonschema:"what to write, UTF-8"`
}

type readArgs struct {
	Path string `json:"path" jsonschema:"file to read, in the practice folder"`
}

// Run serves folder over standard input and output until the input ends or ctx is cancelled.
func Run(ctx context.Context, folder, version string) error {
	s := mcp.NewServer(&mcp.Implementation{Name: "practice", Title: "Practice", Version: version}, nil)
	in := func(path string) error {
		if filepath.Dir(filepath.Clean(path)) != filepath.Clean(folder) || strings.ContainsRune(path, 0) {
			return fmt.Errorf("only files directly in %s", folder)
		}
		return nil
	}
	mcp.AddTool(s, &mcp.Tool{Name: "write_file", Description: "Writes a text file in the practice folder."},
		func(_ context.Context, _ *mcp.CallToolRequest, a writeArgs) (*mcp.CallToolResult, any, error) {
			if err := in(a.Path); err != nil {
				return nil, nil, err
			}
			if err := os.WriteFile(a.Path, []byte(a.Content), 0o600); err != nil {
				return nil, nil, err
			}
			return text(fmt.Sprintf("wrote %d bytes to %s", len(a.Content), a.Path)), nil, nil
		})
	mcp.AddTool(s, &mcp.Tool{Name: "read_file", Description: "Reads a text file in the practice folder."},
		func(_ context.Context, _ *mcp.CallToolRequest, a readArgs) (*mcp.CallToolResult, any, error) {
			if err := in(a.Path); err != nil {
				return nil, nil, err
			}
			b, err := os.ReadFile(a.Path)
			if err != nil {
				return nil, nil, err
			}
			return text(string(b)), nil, nil
		})
	return s.Run(ctx, &mcp.StdioTransport{})
}

func text(s string) *mcp.CallToolResult {
	return &mcp.CallToolResult{Content: []mcp.Content{&mcp.TextContent{Text: s}}}
}
