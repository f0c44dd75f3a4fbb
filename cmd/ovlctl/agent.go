package main

import (
	"context"

	"github.com/ovlnet/ovl/control/agent"
	"github.com/ovlnet/ovl/control/api"
	"github.com/ovlnet/ovl/control/config"
)

// Here, and nowhere else, ovlctl is tied to the agent: `up` runs it, `down`
// uses it to clean up after one that does not run, `attach` to do what the agent
// may not, and it runs `hold`.

func runAgent(ctx context.Context, c config.Config, ready readyFunc) error {
	return agent.Run(ctx, c, agent.Hooks{
		Version: build().Version,
		Ready:   func(r agent.Ready) { ready(r.JoinAddress, r.Token) },
	})
}

// holderCommand is what it calls that.
const holderCommand = agent.HolderCommand

func runHolder(ctx context.Context, path string) error { return agent.RunHolder(ctx, path) }

func removeNamespaces(c config.Config) error { return agent.RemoveNamespaces(c) }

func purgeAgent(ctx context.Context, c config.Config) error { return agent.Purge(ctx, c) }

func attachFor(ctx context.Context, a api.Backend, r api.AttachRequest) (api.Endpoint, error) {
	return agent.AttachFor(ctx, a, r)
}
