package cli

import (
	"context"
	"slices"

	"cordon/host"
	"cordon/host/chat"
	"cordon/host/consent"

	"github.com/spf13/cobra"
)

// What a shell completes of conversations. It is read from the disk beside whoever has the state; nothing is said if it cannot be.

type completion = func(*cobra.Command, []string, string) ([]string, cobra.ShellCompDirective)

// kept completes with what list finds, in its order.
func kept(ctx context.Context, list func(*chat.Store) ([]string, error)) ([]string, cobra.ShellCompDirective) {
	const how = cobra.ShellCompDirectiveNoFileComp | cobra.ShellCompDirectiveKeepOrder
	p, err := paths()
	if err != nil {
		return nil, how
	}
	s, err := chat.Peek(host.ChatFile(p))
	if err != nil {
		return nil, how
	}
	defer s.Close()
	all, err := list(s)
	if err != nil {
		return nil, how
	}
	return all, how
}

// completeChats completes with ids that are not there yet; shells show the titles beside them.
func completeChats(c *cobra.Command, args []string, _ string) ([]string, cobra.ShellCompDirective) {
	return kept(c.Context(), func(s *chat.Store) (ids []string, err error) {
		all, err := s.Conversations(c.Context(), "")
		for _, c := range all {
			if !slices.Contains(args, c.ID) {
				ids = append(ids, cobra.CompletionWithDesc(c.ID, consent.Escape(c.Title)))
			}
		}
		return ids, err
	})
}

// completeCases completes with names, and with the id of a case whose name cannot be shown as it is.
func completeCases(c *cobra.Command, _ []string, _ string) ([]string, cobra.ShellCompDirective) {
	return kept(c.Context(), func(s *chat.Store) (names []string, err error) {
		all, err := s.Cases(c.Context())
		for _, c := range all {
			name := c.Name
			if shown := consent.Escape(name); shown != name {
				name = cobra.CompletionWithDesc(c.ID, shown)
			}
			names = append(names, name)
		}
		return names, err
	})
}

// first is f for the first word, and nothing for others.
func first(f completion) completion {
	return func(c *cobra.Command, args []string, word string) ([]string, cobra.ShellCompDirective) {
		if len(args) > 0 {
			return nil, cobra.ShellCompDirectiveNoFileComp
		}
		return f(c, args, word)
	}
}

// flag has f complete a flag, whatever other words there are.
func flag(c *cobra.Command, name string, f completion) {
	_ = c.RegisterFlagCompletionFunc(name, func(c *cobra.Command, _ []string, word string) ([]string, cobra.ShellCompDirective) {
		return f(c, nil, word)
	})
}

// fixed completes with these words.
func fixed(words ...string) completion {
	return cobra.FixedCompletions(words, cobra.ShellCompDirectiveNoFileComp|cobra.ShellCompDirectiveKeepOrder)
}
