// Package tap is the part of a TAP writer that the conformance programs call. They were written for a library that
// Debian has no package of; scripts/conformance puts this in its place.
package tap

import (
	"encoding/json"
	"fmt"
	"strings"
)

// T is one stream of results on standard output.
type T struct {
	results *int
	todo    bool
}

func New() *T { return &T{results: new(int)} }

// Header begins the stream; a plan of 0 tests is told at the end, by AutoPlan.
func (t *T) Header(plan int) {
	fmt.Println("TAP version 13")
	if plan > 0 {
		fmt.Printf("1..%d\n", plan)
	}
}

func (t *T) AutoPlan() { fmt.Printf("1..%d\n", *t.results) }

func (t *T) Ok(passed bool, description string) {
	verdict := "ok"
	if !passed {
		verdict = "not ok"
	}
	*t.results++
	if t.todo {
		description += " # TODO"
	}
	fmt.Printf("%s %d - %s\n", verdict, *t.results, description)
}

// Todo gives a writer whose failures count as none.
func (t *T) Todo() *T { return &T{results: t.results, todo: true} }

func (t *T) Pass(description string) { t.Ok(true, description) }

func (t *T) Fail(description string) { t.Ok(false, description) }

func (t *T) Skip(count int, reason string) {
	for ; count > 0; count-- {
		*t.results++
		fmt.Printf("ok %d # SKIP %s\n", *t.results, reason)
	}
}

func (t *T) Diagnostic(message string) {
	fmt.Println("# " + strings.ReplaceAll(message, "\n", "\n# "))
}

func (t *T) Diagnosticf(format string, args ...interface{}) {
	t.Diagnostic(fmt.Sprintf(format, args...))
}

// YAML adds data to the last result; JSON is YAML too.
func (t *T) YAML(data interface{}) error {
	text, err := json.MarshalIndent(data, "  ", "  ")
	if err == nil {
		fmt.Printf("  ---\n  %s\n  ...\n", text)
	}
	return err
}
