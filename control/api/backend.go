package api

import "context"

// Backend is what the agent does for ovlctl. Server calls it with requests
// that are validated as far as they can be without knowing the cluster's
// state; errors carry their meaning as *Error, any other becomes
// CodeInternal.
//
// Calls are concurrent. The context ends when the caller hangs up or its time
// is over: a call then returns soon and leaves nothing half-done.
//
// A reference (ref) to a network, endpoint or service is its name, its whole ID, or a
// prefix of the ID of at least MinRef characters that fits only one; a name
// wins over an ID. More than one fit is CodeAmbiguous, none CodeNotFound.
type Backend interface {
	// Status describes this host.
	Status(ctx context.Context) (Status, error)
	// Peers describes the other hosts, those that left but are remembered
	// included, by ascending name.
	Peers(ctx context.Context) ([]Peer, error)
	// TokenCreate returns a token with which another host can join.
	TokenCreate(ctx context.Context, r TokenRequest) (Token, error)

	// NetworkCreate makes a network; every live host knows it as soon as it
	// can be told. Refused with CodeExists, CodeInvalid (overlaps, MTU above
	// what the underlay carries) or CodeExhausted.
	NetworkCreate(ctx context.Context, r NetworkRequest) (Network, error)
	// NetworkList returns every network of the cluster, by ascending name.
	NetworkList(ctx context.Context) ([]NetworkSummary, error)
	// NetworkInspect returns all there is to know of one network.
	NetworkInspect(ctx context.Context, ref string) (Network, error)
	// NetworkRemove removes a network everywhere. CodeInUse while it has
	// endpoints or services; the message counts them and names one.
	NetworkRemove(ctx context.Context, ref string) error

	// Attach makes an endpoint on this host, all or nothing. When it returns
	// the endpoint can send and receive.
	//
	// A request with an EnteredInode ends half-way: the interface is in the
	// namespace, down and without the addresses of the answer, and the
	// endpoint exists for nobody yet. The caller configures it and calls
	// AttachFinish with its ID, or Detach. What is not finished within
	// FinishTime is taken back, and also when the agent ends.
	Attach(ctx context.Context, r AttachRequest) (Endpoint, error)
	// AttachFinish is the other half. CodeNotFound where nothing waits for
	// it any more; after any error nothing is left of the endpoint.
	AttachFinish(ctx context.Context, id string) (Endpoint, error)
	// Detach removes an endpoint of this host and returns what it was.
	// CodeElsewhere, naming the host, for an endpoint of another one.
	Detach(ctx context.Context, r DetachRequest) (Endpoint, error)
	// EndpointList returns the endpoints of one network, or with an empty
	// ref of all, by ascending network and endpoint name.
	EndpointList(ctx context.Context, network string) ([]Endpoint, error)
	// EndpointInspect returns one endpoint, on whichever host it is.
	EndpointInspect(ctx context.Context, ref string) (Endpoint, error)

	// ServiceCreate makes a service without backends. Its VIPs come from the
	// network's authority: CodeTaken, CodeExhausted or CodeUnreachable as with
	// the addresses of endpoints.
	ServiceCreate(ctx context.Context, r ServiceRequest) (Service, error)
	// ServiceList returns the services of one network, or with an empty ref of
	// all, by ascending network and service name.
	ServiceList(ctx context.Context, network string) ([]ServiceSummary, error)
	// ServiceInspect returns all there is to know of one service.
	ServiceInspect(ctx context.Context, r ServiceRef) (Service, error)
	// ServiceUpdate changes a service on any host. When it returns, live hosts
	// do as it says.
	ServiceUpdate(ctx context.Context, r ServiceUpdate) (Service, error)
	// ServiceDrain begins or ends draining a backend, on any host. When it
	// returns, live hosts do as it says. CodeNotFound for an endpoint that is no
	// backend of the service; asking twice is no error.
	ServiceDrain(ctx context.Context, r ServiceDrain) (Service, error)
	// ServiceRemove removes a service, whatever backends it has, and returns
	// what it was.
	ServiceRemove(ctx context.Context, r ServiceRef) (Service, error)
	// Flows returns the flows to VIPs that clients on this host have.
	Flows(ctx context.Context, r FlowsRequest) (FlowList, error)

	// DNS returns what an endpoint of this host would be answered for a name, and why.
	// CodeElsewhere for an endpoint of another host, or a network that has none here:
	// this host does not answer for it.
	DNS(ctx context.Context, r DNSRequest) (DNSReport, error)

	// Leave is `ovlctl down`: it withdraws this host's endpoints, says
	// goodbye to the cluster, removes all of the instance from the kernel
	// and forgets the host's state; what goes wrong is in the report. After
	// it the agent ends by itself, once the answer is on its way: it closes
	// the server (which waits for answers), removes the instance's folders
	// and releases the lock last. The only error is that it ends already.
	Leave(ctx context.Context, r LeaveRequest) (LeaveReport, error)
}

// MinRef is the least number of characters of an ID that refer to an object.
const MinRef = 4
