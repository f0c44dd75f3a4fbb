package main

import (
	"context"

	"github.com/ovlnet/ovl/control/agent"
	"github.com/ovlnet/ovl/control/config"
)

// Here, and nowhere else, ovlctl is tied to the agent: `up` runs it, and
// `down` uses it to clean up after one that does not run.

func runAgent(ctx context.Context, c config.Config, ready readyFunc) error {
	return agent.Run(ctx, c, agent.Hooks{
		Version: build().Version,
		Ready:   func(r agent.Ready) { ready(r.JoinAddress, r.Token) },
	})
}

func purgeAgent(ctx context.Context, c config.Config) error { return agent.Purge(ctx, c) }
