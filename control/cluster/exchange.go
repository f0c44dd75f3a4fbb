package cluster

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"

	"github.com/ovlnet/ovl/control/cluster/rpc"
	"github.com/ovlnet/ovl/control/store"
)

// pullRequest asks for the rows that the caller has not seen.
type pullRequest struct {
	Vector store.Vector `json:"vector"`
	// Node is the caller's own node row. Whoever lets the caller have rows
	// must know of it first, see store.AckVector.
	Node *store.Row `json:"node,omitempty"`
}

// pushAnswer says what the receiver of a push has seen after it.
type pushAnswer struct {
	Vector store.Vector `json:"vector"`
}

// exchange brings two hosts to the same tables: it pulls what is missing here,
// then pushes what is missing there, a batch at a time. It returns what the
// other host has seen after that.
func (c *Cluster) exchange(ctx context.Context, id string, addr netip.AddrPort) (store.Vector, error) {
	theirs, err := c.pull(ctx, id, addr)
	if err != nil {
		return nil, fmt.Errorf("pull from %s: %w", id, err)
	}
	if theirs, err = c.push(ctx, id, addr, theirs); err != nil {
		return nil, fmt.Errorf("push to %s: %w", id, err)
	}
	c.peers.synced(id, theirs)
	return theirs, nil
}

// pull merges batches until the peer has no more, and returns what it has seen.
func (c *Cluster) pull(ctx context.Context, id string, addr netip.AddrPort) (store.Vector, error) {
	for {
		snap := c.store.Snapshot()
		req := pullRequest{Vector: snap.Vector()}
		if row, ok := snap.Get(store.TableNode, c.local.ID); ok {
			req.Node = &row
		}
		body, err := json.Marshal(req)
		if err != nil {
			return nil, err
		}
		answer, err := c.transport.Request(ctx, addr, "pull", body)
		if err != nil {
			return nil, err
		}
		rows, end, err := readBatch(answer)
		if err != nil {
			return nil, err
		}
		if _, err := c.store.MergeTransfer(rows, end.Vector); err != nil {
			return nil, err
		}
		if !end.More {
			return end.Vector, c.store.AckVector(id, end.Vector)
		}
		if len(rows) == 0 {
			return nil, fmt.Errorf("peer promises more rows, but sends none")
		}
	}
}

// push sends batches until a peer that has seen theirs lacks nothing, and
// returns what it has seen then.
func (c *Cluster) push(ctx context.Context, id string, addr netip.AddrPort, theirs store.Vector) (store.Vector, error) {
	for {
		snap := c.store.Snapshot()
		if theirs.Covers(snap.Vector()) {
			return theirs, nil
		}
		body, end, err := missingBatch(snap, theirs)
		if err != nil {
			return nil, err
		}
		next, err := c.sendPush(ctx, id, addr, body)
		if err != nil {
			return nil, err
		}
		if !end.More || next.Equal(theirs) {
			// Equal: the peer has refused what we hold; its log says why.
			return next, nil
		}
		theirs = next
	}
}

func (c *Cluster) sendPush(ctx context.Context, id string, addr netip.AddrPort, body []byte) (store.Vector, error) {
	answer, err := c.transport.Request(ctx, addr, "push", body)
	if err != nil {
		return nil, err
	}
	var got pushAnswer
	if err := json.Unmarshal(answer, &got); err != nil {
		return nil, fmt.Errorf("answer to push: %w", err)
	}
	return got.Vector, c.store.AckVector(id, got.Vector)
}

// servePull answers another host's pull.
func (c *Cluster) servePull(_ context.Context, from string, body []byte) ([]byte, error) {
	var req pullRequest
	if err := json.Unmarshal(body, &req); err != nil {
		return nil, rpc.Errorf(rpc.CodeBadRequest, "malformed pull: %v", err)
	}
	if req.Node != nil && !c.store.Vector().Has(req.Node.Stamp) {
		if _, err := c.store.Merge([]store.Row{*req.Node}); err != nil {
			return nil, refusal(err)
		}
	}
	if err := c.store.AckVector(from, req.Vector); err != nil {
		return nil, refusal(err)
	}
	c.peers.heardOf(from, req.Vector)
	answer, _, err := missingBatch(c.store.Snapshot(), req.Vector)
	return answer, err
}

// servePush merges what another host sends.
func (c *Cluster) servePush(ctx context.Context, from string, body []byte) ([]byte, error) {
	rows, end, err := readBatch(body)
	if err != nil {
		return nil, err
	}
	if end.Vector != nil {
		_, err = c.store.MergeTransfer(rows, end.Vector)
	} else {
		_, err = c.store.Merge(rows)
	}
	if err != nil {
		return nil, refusal(err)
	}
	c.askForGaps(rows)
	if end.Wait {
		if err := c.opt.Applied(ctx); err != nil {
			return nil, fmt.Errorf("merged, but not applied yet: %w", err)
		}
	}
	return json.Marshal(pushAnswer{c.store.Vector()})
}

// refusal is the answer to a caller whose rows or vector were not taken: its
// own fault if they are malformed, this host's if the disk is.
func refusal(err error) error {
	if errors.Is(err, store.ErrMalformed) {
		return rpc.Errorf(rpc.CodeBadRequest, "%v", err)
	}
	return err
}
