// Package executor: which driver an artifact needs, in place of Argo's own choice. The chain has no artifacts: its steps
// read and write the object store themselves. Without the drivers of clouds and Git, Argo's executor, which is copied
// into every pod, is a quarter smaller.
package executor

import (
	"context"
	"errors"

	wfv1 "github.com/argoproj/argo-workflows/v3/pkg/apis/workflow/v1alpha1"
	"github.com/argoproj/argo-workflows/v3/workflow/artifacts/common"
	"github.com/argoproj/argo-workflows/v3/workflow/artifacts/raw"
	"github.com/argoproj/argo-workflows/v3/workflow/artifacts/resource"
)

// ErrUnsupportedDriver is the answer to all but raw artifacts.
var ErrUnsupportedDriver = errors.New("unsupported artifact driver: this Argo was built for tests, with none but raw")

// NewDriverFunc is the type of NewDriver.
type NewDriverFunc func(ctx context.Context, art *wfv1.Artifact, ri resource.Interface) (common.ArtifactDriver, error)

// NewDriver gives the driver of an artifact.
func NewDriver(_ context.Context, art *wfv1.Artifact, _ resource.Interface) (common.ArtifactDriver, error) {
	if art.Raw != nil {
		return &raw.ArtifactDriver{}, nil
	}
	return nil, ErrUnsupportedDriver
}
