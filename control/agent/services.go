package agent

import (
	"context"

	"github.com/ovlnet/ovl/control/api"
)

var errNoServices = api.Errorf(api.CodeUnsupported, "services are not there yet")

// ServiceCreate implements api.Backend.
func (a *Agent) ServiceCreate(context.Context, api.ServiceRequest) (api.Service, error) {
	return api.Service{}, errNoServices
}

// ServiceList implements api.Backend.
func (a *Agent) ServiceList(context.Context, string) ([]api.ServiceSummary, error) {
	return nil, errNoServices
}

// ServiceInspect implements api.Backend.
func (a *Agent) ServiceInspect(context.Context, api.ServiceRef) (api.Service, error) {
	return api.Service{}, errNoServices
}

// ServiceUpdate implements api.Backend.
func (a *Agent) ServiceUpdate(context.Context, api.ServiceUpdate) (api.Service, error) {
	return api.Service{}, errNoServices
}

// ServiceDrain implements api.Backend.
func (a *Agent) ServiceDrain(context.Context, api.ServiceDrain) (api.Service, error) {
	return api.Service{}, errNoServices
}

// ServiceRemove implements api.Backend.
func (a *Agent) ServiceRemove(context.Context, api.ServiceRef) (api.Service, error) {
	return api.Service{}, errNoServices
}

// Flows implements api.Backend.
func (a *Agent) Flows(context.Context, api.FlowsRequest) (api.FlowList, error) {
	return api.FlowList{}, errNoServices
}
