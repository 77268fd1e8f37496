// Command attempt runs forbidden acts for the tests, see package attempt.
package main

import (
	"os"

	"cordon/sandbox/attempt"
)

func main() {
	if err := attempt.Main(os.Args[1:], os.Stdout); err != nil {
		os.Exit(1)
	}
}
