package agent

import (
	"sync"

	"github.com/ovlnet/ovl/control/api"
)

// claims are the names and interfaces that requests under way will use or
// free. Two requests for one thing at once are not serialised: the second is
// told so, as it would be a moment later.
type claims struct {
	mu   sync.Mutex
	held map[string]bool
}

// claim takes all of keys, or none. The caller calls release when its request
// is done, whatever became of it.
func (c *claims) claim(keys ...string) (release func(), err error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, k := range keys {
		if c.held[k] {
			return nil, api.Errorf(api.CodeExists, "%s is being attached or detached by another request", k)
		}
	}
	if c.held == nil {
		c.held = make(map[string]bool)
	}
	for _, k := range keys {
		c.held[k] = true
	}
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		for _, k := range keys {
			delete(c.held, k)
		}
	}, nil
}
