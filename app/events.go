package app

// The events that are pushed to the page; a closed list, mirrored in Pushed (types.ts).
const (
	EventSnapshot = "snapshot" // Snapshot
	EventProgress = "progress" // Progress
	EventCall     = "call"     // CallProgress
	EventActivity = "activity" // []EventView, oldest first
	EventChat     = "chat"     // ChatPush
)
