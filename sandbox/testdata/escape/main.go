// Command escape runs one act of package escape for the tests.
package main

import (
	"os"

	"cordon/sandbox/attempt/escape"
)

func main() {
	if err := escape.Main(os.Args[1:], os.Stdin, os.Stdout); err != nil {
		os.Exit(1)
	}
}
