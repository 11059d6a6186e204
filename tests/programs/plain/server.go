// Answers with its pid. Built with CGO_ENABLED=0 and =1. usage: server PORT
package main

import (
	"fmt"
	"net/http"
	"os"
	_ "os/user" // with cgo this links libc
)

func main() {
	http.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		fmt.Fprintf(w, "%d\n", os.Getpid())
	})
	fmt.Fprintln(os.Stderr, http.ListenAndServe(":"+os.Args[1], nil))
	os.Exit(1)
}
