// Package app is what the window binds to: each bound method decodes, makes one host call and encodes. It knows no
// toolkit; package main adapts Wails to Window.
package app

// Version is Cordon's own.
const Version = "0.1.0"

// Window is what the app needs of the real window. Implementations are safe for concurrent use and return at once,
// except for ChooseFolder and ChooseFile, which wait for a person.
type Window interface {
	// Emit pushes payload, encoded as JSON, to the page under one of the names in Pushed (types.ts).
	Emit(event string, payload any)
	// ChooseFolder asks for a directory and returns its absolute path, or "" when the person cancelled.
	ChooseFolder(title string) (string, error)
	// ChooseFile asks where to write a file and returns its absolute path, or "" when the person cancelled.
	ChooseFile(title, name string) (string, error)
}
