// Command cordon is Cordon's command line.
package main

import (
	"os"

	"cordon/app/cli"
)

func main() { os.Exit(cli.Main(os.Args[1:], os.Stdin, os.Stdout, os.Stderr)) }
